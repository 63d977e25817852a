"""Installing Gatehouse on a cluster, and taking it away: kubectl driven, Secrets made."""
