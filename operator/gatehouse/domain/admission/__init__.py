"""The allow-list that admission reads, and the rules for versions that share an artifact."""
