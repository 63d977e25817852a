"""The audit trail: what changed, who changed it and why, in a chain that shows every later change. All pure."""
