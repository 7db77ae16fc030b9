"""Publishing of a finished run: half-precision weights without local paths, and a model card."""
