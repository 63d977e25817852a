"""What a person or a pipeline does on the cluster, with their own rights."""
