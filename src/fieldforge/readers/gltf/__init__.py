"""glTF 2.0 and GLB → `geometry.mesh.Mesh`: all features that determine the surface and its colour.

This package has its own reader because general loaders silently ignore many features: normalised and sparse accessors,
skins, morph weights, instances, fans, texture transforms, the second set of coordinates.
"""
