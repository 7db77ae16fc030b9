"""Rays, volume integral, rasteriser, picture sheets."""
