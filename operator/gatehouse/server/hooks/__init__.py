"""What other systems call when something happened there: events of object stores. A call is a hint and never a fact."""
