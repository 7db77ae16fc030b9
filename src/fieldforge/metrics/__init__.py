"""Reconstruction, distribution and prompt agreement."""
