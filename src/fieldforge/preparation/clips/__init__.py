"""Clips → sample shards: orbits of meshes, and files of videos and animations."""
