"""The stages of a training, and where each lies on disk."""
