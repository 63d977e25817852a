"""The model catalog: the versions that it lists, and how clients read them."""
