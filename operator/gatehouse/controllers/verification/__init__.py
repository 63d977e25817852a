"""Verification of artifacts: when it is due, what is read, and how much runs at once."""
