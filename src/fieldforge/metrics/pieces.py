"""The number of connected components of a surface."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SMALLEST = 0.005  # share of the whole area below which a part is a crumb


def count_pieces(vertices: NDArray[np.floating], faces: NDArray[np.integer], smallest: float = SMALLEST) -> int:
    """Connected components (by places of vertices) of a mesh, vertices (P, 3), faces (F, 3); 0 for an empty mesh.

    Only components with more than the share `smallest` of the mesh's area count.
    """
    if not len(faces):
        return 0
    places, place_of = np.unique(vertices, axis=0, return_inverse=True)  # vertices may be split at seams
    vertices, faces = places, place_of.reshape(-1)[faces]
    ends = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    links = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), (len(vertices),) * 2)
    part = connected_components(links, directed=False)[1][faces[:, 0]]  # (F,)
    corners = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    areas = np.bincount(part, weights=area)
    return int((areas > smallest * areas.sum()).sum())
