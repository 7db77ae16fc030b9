"""Meshes with fewer faces: edges collapse in the order of their quadric error (Garland and Heckbert 1997).

libigl collapses an edge only where a closed surface stays one (the link condition), which the faster libraries do not:
they leave edges with four faces in meshes of many parts. The package is an extra, imported where it is needed.
"""

import numpy as np
from numpy.typing import NDArray

from fieldforge.geometry.colored_mesh import is_manifold

Triangles = tuple[NDArray[np.float32], NDArray[np.int64]]


def simplify(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], count: int, keep_apart: bool = False
) -> Triangles:
    """Vertices (P, 3) and at most `count` faces (F, 3) of a manifold mesh; one that has no more stays as it is.

    More than `count` remain where no further edge can collapse: a closed piece has four faces at least, and a hole
    through it needs more. With `keep_apart` no collapse makes a face cut through another, which takes three times as
    long.
    """
    import igl

    assert is_manifold(faces), "edges collapse where they have two faces"
    if len(faces) > count:
        places = np.asfortranarray(vertices, dtype=np.float64)
        vertices, faces, *_ = igl.qslim(places, np.asfortranarray(faces, dtype=np.int32), count, keep_apart)
    return vertices.astype(np.float32), faces.astype(np.int64)
