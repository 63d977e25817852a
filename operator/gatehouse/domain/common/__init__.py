"""Modules for every part of the domain: errors, conditions, bounded JSON and YAML, text, locations."""
