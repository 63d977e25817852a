"""What reviewers and authors do with versions: on the cluster, with their own rights, never on the database."""
