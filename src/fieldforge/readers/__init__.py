"""One file of any mesh format → `geometry.mesh.Mesh`. Each format is read by a module of its own."""
