"""Queries over entries: filters, orders and pages, as data."""
