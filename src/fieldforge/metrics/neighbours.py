"""Measures of a surface from its stored points and their neighbours: edges, parts, texture, openness.

They tell difficult shapes from others, and how well a reconstruction keeps sharp edges. Axis letter: N points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from fieldforge.metrics.pieces import SMALLEST

Floats = NDArray[np.floating]

NEIGHBOURS = 8
SHARP = 45.0  # degrees between the normals of neighbours, from which on there is an edge


def neighbours_of(points: Floats, tree: cKDTree | None = None, count: int = NEIGHBOURS) -> NDArray[np.int64]:
    """Indices (N, count) of the points nearest to each of points (N, 3): among themselves, or those of `tree`."""
    if tree is not None:
        return np.asarray(tree.query(points, min(count, tree.n))[1]).reshape(len(points), -1)
    return np.asarray(cKDTree(points).query(points, min(count + 1, len(points)))[1]).reshape(len(points), -1)[:, 1:]


def angles(normals: Floats, others: Floats) -> NDArray[np.float64]:
    """Angles in degrees, 0…90, between unit normals (N, 3) and others (N, K, 3), whose sides do not matter: (N, K)."""
    cosines = np.abs(np.einsum("nc,nkc->nk", normals, others, dtype=np.float64))
    return np.degrees(np.arccos(cosines.clip(0, 1)))


def sharp_normal_error(points: Floats, normals: Floats, true_points: Floats, true_normals: Floats) -> float:
    """Mean angle in degrees by which a reconstruction's normals are off at the sharp edges of the truth.

    Sharp are those points of the truth (N, 3) with a neighbour whose normal is `SHARP` off. Each is compared with the
    closest normal among the nearest points of the reconstruction, so that it does not matter on which side of an edge
    the nearest one lies. NaN for a truth without edges; 90 for a reconstruction without points.
    """
    sharp = (angles(true_normals, true_normals[neighbours_of(true_points)]) > SHARP).any(axis=1)
    if not sharp.any():
        return float("nan")
    if not len(points):
        return 90.0
    nearest = neighbours_of(true_points[sharp], cKDTree(points))
    return float(angles(true_normals[sharp], normals[nearest]).min(axis=1).mean())


def count_parts(neighbours: NDArray[np.integer]) -> int:
    """Parts that stand apart: connected groups of points, linked to their neighbours (N, K), above 0.5 % of all."""
    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    links = coo_matrix((np.ones(neighbours.size, bool), (rows, neighbours.ravel())), (len(neighbours),) * 2)
    part = connected_components(links, directed=False)[1]
    return int((np.bincount(part) > SMALLEST * len(neighbours)).sum())


def texture(colors: Floats, neighbours: NDArray[np.integer]) -> float:
    """Mean difference of colours (N, 3), sRGB 0…1, from those of their neighbours (N, K), per channel."""
    return float(np.abs(colors[neighbours] - colors[:, None]).mean())


def openness(near_sdf: Floats) -> float:
    """The share of a surface without an inside behind it, from signed distances (M,) at points on both its sides.

    Of a closed, thick surface half of these points are inside: 0. Of a sheet none is: 1.
    """
    return float(np.clip(1 - 2 * np.mean(near_sdf < 0), 0, 1))
