"""The stages of a training and their directories."""
