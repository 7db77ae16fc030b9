"""Texture coordinates of a mesh without any, and the point of the surface that each texel shows.

xatlas cuts the surface into charts and packs them; the package is an extra, imported where it is needed. Axis letters:
P vertices, F faces, S texels along a side; N candidate pairs of a face and a texel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

PADDING = 4  # texels between charts before they are fitted to the texture, so that bilinear look-ups stay in their own
PAIRS_AT_ONCE = 2**21


def unwrap(vertices: NDArray[np.floating], faces: NDArray[np.integer], size: int) -> NDArray[np.float32]:
    """Texture coordinates (F, 3, 2) in 0…1, v up, of vertices (P, 3) and faces (F, 3): charts that do not overlap.

    size: texels along a side of the texture that they are for.
    """
    import xatlas

    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = size, PADDING, True
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices.astype(np.float32), faces.astype(np.uint32))
    atlas.generate(xatlas.ChartOptions(), packing)
    _, corners, uv = atlas[0]
    # The size is a wish only: the atlas may be wider or higher than the texture, and is fitted into it.
    places = uv * np.array([atlas.width, atlas.height]) / max(atlas.width, atlas.height)
    return places[corners].astype(np.float32)


@dataclass(frozen=True)
class Texels:
    """The points of the surface that texels show: of N texels with their centre in a face the face and its weights.

    faces (N,); weights (N, 3), barycentric; nearest (S, S), row 0 on top: the number 0…N-1 of the nearest of them. The
    others repeat that one, so that neither bilinear look-ups at the borders of charts nor smaller copies of the texture
    mix in a foreign colour.
    """

    faces: NDArray[np.int64]
    weights: NDArray[np.float64]
    nearest: NDArray[np.int64]


def texels(corner_uv: NDArray[np.floating], size: int) -> Texels:
    """The texels of a size × size texture for texture coordinates (F, 3, 2), v up."""
    corners = corner_uv.astype(np.float64) * [size, -size] + [0, size]  # (F, 3, 2) as column, row
    face_of = np.full(size * size, -1, np.int64)
    weights_of = np.zeros((size * size, 3))
    for face, column, row in _candidates(corners, size):
        weights = flat_weights(corners[face], np.stack([column, row], axis=-1) + 0.5)
        inside = (weights >= 0).all(axis=1)
        texel = (row * size + column)[inside]
        face_of[texel], weights_of[texel] = face[inside], weights[inside]
    own = face_of >= 0
    assert own.any(), "no texel shows the surface"
    rows, columns = distance_transform_edt(~own.reshape(size, size), return_distances=False, return_indices=True)
    number = np.cumsum(own) - 1
    return Texels(face_of[own], weights_of[own], number[rows * size + columns])


def _candidates(corners: NDArray[np.floating], size: int) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Face, column and row (N,) each of all pairs of a face and a texel whose centre is in its bounds, in parts."""
    first = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, None).astype(np.int64)  # (F, 2)
    last = np.clip(np.floor(corners.max(axis=1) - 0.5), None, size - 1).astype(np.int64)
    width, height = np.maximum(last - first + 1, 0).T  # (F,) each
    counts = width * height
    parts = np.cumsum(counts) // PAIRS_AT_ONCE
    for group in np.split(np.arange(len(corners)), np.flatnonzero(np.diff(parts)) + 1):
        face = np.repeat(group, counts[group])
        place = np.arange(len(face)) - np.repeat(np.cumsum(counts[group]) - counts[group], counts[group])
        yield face, first[face, 0] + place % width[face], first[face, 1] + place // width[face]


def flat_weights(corners: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Barycentric weights (N, 3) of points (N, 2) in triangles (N, 3, 2); NaN for a triangle without area."""
    x, y = np.moveaxis(corners - points[:, None], -1, 0)  # (N, 3) each
    first, second = [1, 2, 0], [2, 0, 1]  # the corners opposite of each
    areas = x[:, first] * y[:, second] - x[:, second] * y[:, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        return areas / areas.sum(axis=1, keepdims=True)
