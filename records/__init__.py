"""What a run produces: its records, written and read."""
