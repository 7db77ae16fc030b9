"""Turntable animations of meshes."""

import math
from pathlib import Path

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.rendering.bitmaps import flatten, write_gif
from fieldforge.rendering.shading import Stand, portraits


def write_turntable(mesh: ColoredMesh, path: Path, size: int = 192, frames: int = 24, seconds: float = 3.0) -> None:
    """Write a GIF of size × size pixels in which the mesh turns once about the vertical, from its portrait on."""
    start = Stand()
    stands = [Stand(start.azimuth + 2 * math.pi * frame / frames, start.elevation) for frame in range(frames)]
    write_gif([flatten(picture) for picture in portraits(mesh, size, stands)], path, seconds)
