"""Meshes, cameras, isosurfaces."""
