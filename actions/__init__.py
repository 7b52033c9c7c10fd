"""The catalogue: one file, one repair."""
