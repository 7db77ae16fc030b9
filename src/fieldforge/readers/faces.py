"""Triangulation of polygons with mixed corner counts; each triangle keeps its polygon and corners."""

from dataclasses import dataclass

import numpy as np

from fieldforge.readers.file_store import AssetError, Notes
from fieldforge.readers.polygons import triangulate


@dataclass(frozen=True)
class Polygons:
    """P polygons over V vertices: polygon p has counts[p] corners, and `corners` (C,) lists those of all in turn.

    Corners are vertex numbers; both arrays are int64.
    """

    counts: np.ndarray
    corners: np.ndarray


@dataclass(frozen=True)
class Triangles:
    """T triangles cut from polygons: faces (T, 3) vertex numbers, polygon (T,), corner (T, 3) places in `corners`."""

    faces: np.ndarray
    polygon: np.ndarray
    corner: np.ndarray


def cut(polygons: Polygons, vertices: np.ndarray, notes: Notes) -> Triangles:
    """Triangles of all polygons, in the order of the polygons. Those of fewer than three corners are noted.

    AssetError: there is no polygon, or one names a vertex that is not there.
    """
    if len(polygons.corners) and not (polygons.corners.min() >= 0 and polygons.corners.max() < len(vertices)):
        worst = polygons.corners[(polygons.corners < 0) | (polygons.corners >= len(vertices))][0]
        raise AssetError(f"a face names vertex {worst}, but there are {len(vertices):,}; export the mesh again.")
    few = int((polygons.counts < 3).sum())
    if few:
        notes.add(f"{few:,} of {len(polygons.counts):,} faces have fewer than three corners: they are left out")
    starts = np.cumsum(polygons.counts) - polygons.counts
    polygon, corner = [], []
    for count in np.unique(polygons.counts[polygons.counts >= 3]).tolist():
        chosen = np.flatnonzero(polygons.counts == count)
        place = starts[chosen, None] + np.arange(count)  # (M, n)
        cuts = triangulate(vertices[polygons.corners[place]])  # (M, n - 2, 3)
        corner.append(np.take_along_axis(place, cuts.reshape(len(chosen), -1), axis=1).reshape(-1, 3))
        polygon.append(np.repeat(chosen, count - 2))
    if not polygon:
        raise AssetError("the file holds no faces; export the mesh again.")
    order = np.argsort(np.concatenate(polygon), kind="stable")
    corners = np.concatenate(corner)[order]
    return Triangles(polygons.corners[corners], np.concatenate(polygon)[order], corners)


def strips(counts: np.ndarray, numbers: np.ndarray) -> Polygons:
    """Triangles of triangle strips: strip s has counts[s] of the vertex `numbers`, and -1 begins a new one.

    Every second triangle of a strip is turned round; those that name a vertex twice only join parts of a strip.
    """
    of_strip = np.repeat(np.arange(len(counts)), counts)
    starts = np.empty(len(numbers), np.int64)  # where the run of each entry begins
    begins = np.ones(len(numbers), bool)
    begins[1:] = (numbers[:-1] < 0) | (of_strip[1:] != of_strip[:-1])
    starts = np.maximum.accumulate(np.where(begins, np.arange(len(numbers)), 0))
    first = np.arange(max(len(numbers) - 2, 0))
    whole = (starts[first] == starts[first + 2]) & (numbers[first + 2] >= 0)
    first = first[whole]
    odd = ((first - starts[first]) % 2).astype(bool)[:, None]
    triples = np.stack([numbers[first], numbers[first + 1], numbers[first + 2]], axis=1)
    triples = np.where(odd, triples[:, [1, 0, 2]], triples)
    a, b, c = triples.T
    triples = triples[(a != b) & (b != c) & (a != c)]
    return Polygons(np.full(len(triples), 3), triples.reshape(-1))
