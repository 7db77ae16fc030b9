"""Pairwise distances between two lists of point clouds.

Axis letters: A and B shapes, N points in each cloud.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

Floats = NDArray[np.floating]

LONGEST_SIDE = 1.8  # box units, as the preparation normalises assets


def normalized_cloud(points: Floats) -> Floats:
    """The cloud (N, 3) with its bounding box centred on the origin and scaled to 1.8 along its longest side."""
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - (low + high) / 2) * (LONGEST_SIDE / max(float((high - low).max()), 1e-9))


def chamfer_matrix(first: Sequence[Floats], second: Sequence[Floats], squared: bool) -> NDArray[np.float64]:
    """Chamfer distances (A, B) between clouds of (N, 3) points each, N ≥ 1.

    squared: mean d² + mean e² (the chamfer_l2 of `compare_surfaces`, which point cloud papers report); else
    (mean d + mean e) / 2 (its chamfer_l1).
    """
    trees = [cKDTree(cloud) for cloud in second]
    matrix = np.empty((len(first), len(second)))
    for row, cloud in enumerate(first):
        tree = cKDTree(cloud)
        for column, other in enumerate(trees):
            d, e = other.query(cloud)[0], tree.query(other.data)[0]
            if squared:
                matrix[row, column] = np.square(d).mean() + np.square(e).mean()
            else:
                matrix[row, column] = (d.mean() + e.mean()) / 2
    return matrix


def earth_movers_matrix(first: Sequence[Floats], second: Sequence[Floats]) -> NDArray[np.float64]:
    """Earth mover's distances (A, B): mean distance of the best one-to-one matching between clouds of one size N.

    Exact (Jonker-Volgenant) and cubic in N: about 0.05 s a pair at 1,024 points. Of one list with itself each pair is
    computed once.
    """
    matrix = np.zeros((len(first), len(second)))
    for row, cloud in enumerate(first):
        for column, other in enumerate(second):
            assert len(cloud) == len(other), f"clouds of {len(cloud)} and {len(other)} points have no matching"
            if first is second and column <= row:
                matrix[row, column] = matrix[column, row]
                continue
            distances = cdist(cloud, other)
            matrix[row, column] = distances[linear_sum_assignment(distances)].mean()
    return matrix
