"""Facts, decision and status of a ModelDeployment: which revision runs, which one is a target, and why."""
