"""Bodies of the entry points; the only room that knows Hydra."""
