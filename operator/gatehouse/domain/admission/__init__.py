"""The allow-list that the cluster's admission reads, and whose word counts where versions share an artifact."""
