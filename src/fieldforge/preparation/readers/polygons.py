"""Polygons of three and more corners into triangles, right for concave ones."""

import numpy as np


def triangulate(corners: np.ndarray) -> np.ndarray:
    """Triangles of M polygons with n corners each: corners (M, n, 3) → corner numbers (M, n - 2, 3).

    Convex polygons become a fan from corner 0. Those whose fan would fold over are cut by ear clipping.
    """
    count, n = corners.shape[:2]
    fan = np.stack([np.zeros(n - 2, np.int64), np.arange(1, n - 1), np.arange(2, n)], axis=1)  # (n - 2, 3)
    result = np.tile(fan, (count, 1, 1))
    if n == 3:
        return result
    normal = np.cross(corners, np.roll(corners, -1, axis=1)).sum(axis=1)  # (M, 3) Newell's method, twice the area
    a, b, c = (corners[:, fan[:, k]] for k in range(3))  # each (M, n - 2, 3)
    along = np.einsum("mtd,md->mt", np.cross(b - a, c - a), normal)
    folded = (along < -1e-6 * (normal**2).sum(axis=1)[:, None]).any(axis=1)
    for index in np.flatnonzero(folded):
        result[index] = clip_ears(corners[index], normal[index])
    return result


def clip_ears(corners: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Triangles (n - 2, 3) of one simple polygon (n, 3) by ear clipping; the best ear goes where none is left."""
    drop = int(np.abs(normal).argmax())  # project along the main axis of the normal
    axes = [(1, 2), (2, 0), (0, 1)][drop]
    flat = corners[:, axes] * np.array([np.sign(normal[drop]), 1.0])  # counter-clockwise
    left = list(range(len(corners)))
    triangles: list[tuple[int, int, int]] = []
    while len(left) > 3:
        areas = [_twice_area(flat, left[k - 1], left[k], left[(k + 1) % len(left)]) for k in range(len(left))]
        ear = next((k for k in range(len(left)) if areas[k] > 0 and _is_ear(flat, left, k)), int(np.argmax(areas)))
        triangles.append((left[ear - 1], left[ear], left[(ear + 1) % len(left)]))
        del left[ear]
    triangles.append((left[0], left[1], left[2]))
    return np.array(triangles)


def _twice_area(flat: np.ndarray, a: int, b: int, c: int) -> float:
    (ax, ay), (bx, by), (cx, cy) = flat[a], flat[b], flat[c]
    return float((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))


def _is_ear(flat: np.ndarray, left: list[int], k: int) -> bool:
    a, b, c = left[k - 1], left[k], left[(k + 1) % len(left)]
    for other in left:
        if other in (a, b, c) or (flat[other] == flat[[a, b, c]]).all(axis=1).any():
            continue
        if all(_twice_area(flat, *edge, other) >= 0 for edge in ((a, b), (b, c), (c, a))):
            return False
    return True
