"""Numbers that a shape has by itself, as conditions: proportions, symmetry and sharpness, by its stored points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from scipy.spatial import cKDTree

POINTS = 4096  # of a surface that numbers are measured on
SPACINGS = 0.95  # quantile of the points' own distances, within which a mirrored point counts as met
NEAR = 0.1  # box units: an edge is sharp where normals this near to each other differ
ANGLE = 30  # degrees, by more than this


def proportions(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Width, height and depth (3,) of the points (N, 3), over the longest of them."""
    extent = np.ptp(points, axis=0)
    return extent / max(extent.max(), 1e-9)


def symmetry(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """For each of the planes x, y and z through the middle of the points (N, 3): 0…1, share of them that it maps on
    others.

    A point is met where its image is as near to a point of the other half of them as points of a surface are to each
    other; so the number of points does not matter. Of two parts of which one is alone on its side, the share is what
    the other part has.
    """
    middle = (points.max(0) + points.min(0)) / 2
    these, those = points[::2] - middle, cKDTree(points[1::2] - middle)
    spacing = np.quantile(those.query(these)[0], SPACINGS)
    met = [np.mean(those.query(these * sign)[0] <= spacing) for sign in 1 - 2 * np.eye(3)]
    return np.minimum(np.array(met) / SPACINGS, 1)


def sharpness(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Share (1,) of the points (N, 3) beside a sharp edge: another within `NEAR` has a normal turned by `ANGLE`.

    Opposite normals are those of two sides of a sheet, and no edge. Where few points are stored, some that lie beside
    an edge have none within reach beyond it.
    """
    pairs = cKDTree(points).query_pairs(NEAR, output_type="ndarray")  # (P, 2)
    turned = np.abs((normals[pairs[:, 0]] * normals[pairs[:, 1]]).sum(1)) < np.cos(np.radians(ANGLE))
    beside = np.zeros(len(points), bool)
    beside[pairs[turned].ravel()] = True
    return np.array([beside.mean()])


NUMBERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "proportions": proportions,
    "symmetry": symmetry,
    "sharpness": sharpness,
}


class ShapeNumbers:
    """`proportions (3,)`, `symmetry (3,)` or `sharpness (1,)` of a stored shape, float32.

    They are measured at the first look at a sample, and kept.

    Args:
        key: which of them.
    """

    def __init__(self, key: Literal["proportions", "symmetry", "sharpness"]) -> None:
        self.key = key
        self._measured: dict[str, np.ndarray] = {}

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        name = str(sample["__key__"])
        if name not in self._measured:
            points, normals = exposed_surface(sample)
            self._measured[name] = NUMBERS[self.key](points, normals).astype(np.float32)
        return {self.key: self._measured[name]}


def exposed_surface(sample: Mapping[str, Any], count: int | None = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Positions and unit normals (N, 3) of at most `count` stored points that see the outside; of all, if none does.

    Stored points are in random order.
    """
    seen = np.flatnonzero(sample["surface_exposed.npy"])
    chosen = (seen if len(seen) else np.arange(len(sample["surface_points.npy"])))[:count]
    normals = sample["surface_normals.npy"][chosen].astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
    return sample["surface_points.npy"][chosen].astype(np.float32), normals
