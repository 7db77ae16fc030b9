"""glTF 2.0 and GLB → `geometry.mesh.Mesh`: all that decides where a surface is and which colour it has.

General loaders leave out much of it (normalised and sparse accessors, skins, morph weights, instances, fans, texture
transforms, the second set of coordinates) without a word; hence our own.
"""
