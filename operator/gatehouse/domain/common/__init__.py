"""What every part of the domain uses: errors, conditions, bounded JSON and YAML, text, locations."""
