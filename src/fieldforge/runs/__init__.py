"""Bodies of the entry points."""
