"""Policies: which apply, what they require, and which approvals and evaluations count."""
