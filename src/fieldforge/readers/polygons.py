"""Triangulation of polygons, correct for concave ones."""

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
    with np.errstate(invalid="ignore", over="ignore"):  # infinite corners are refused later, with their number
        normal = np.cross(corners, np.roll(corners, -1, axis=1)).sum(axis=1)  # (M, 3) Newell's method, twice the area
        a, b, c = (corners[:, fan[:, k]] for k in range(3))  # each (M, n - 2, 3)
        along = np.einsum("mtd,md->mt", np.cross(b - a, c - a), normal)
        folded = (along < -1e-6 * (normal**2).sum(axis=1)[:, None]).any(axis=1)
        if n == 4:
            result[folded] = _cut_quads(corners[folded], normal[folded])
            return result
        for index in np.flatnonzero(folded):
            result[index] = clip_ears(corners[index], normal[index])
    return result


def clip_ears(corners: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Triangles (n - 2, 3) of one simple polygon (n, 3) by ear clipping; the best ear goes where none is left.

    The first ear in the order of the corners goes first. A corner that is no ear remembers one of the corners in its
    way, and is looked at again when that one, or a neighbour, is gone: thousands of corners take a second.
    """
    flat = np.asfortranarray(_flat(corners[None], normal[None])[0])
    count = len(corners)
    before, after = np.roll(np.arange(count), 1), np.roll(np.arange(count), -1)
    area = _twice_area(flat[before], flat, flat[after])
    left = np.ones(count, bool)
    blocker = np.full(count, -1)  # -1: nothing known
    triangles: list[tuple[int, int, int]] = []
    for _ in range(count - 3):
        while True:
            possible = left & (area > 0) & (blocker < 0)
            ear = int(possible.argmax())
            if not possible[ear]:
                ear = int(np.where(left, area, -np.inf).argmax())
                break
            blocker[ear] = _blocker(flat, left, int(before[ear]), ear, int(after[ear]))
            if blocker[ear] < 0:
                break
        a, c = int(before[ear]), int(after[ear])
        triangles.append((a, ear, c))
        left[ear] = False
        after[a], before[c] = c, a
        blocker[blocker == ear] = -1
        for corner in (a, c):
            area[corner] = _twice_area(flat[before[corner]], flat[corner], flat[after[corner]])
            blocker[corner] = -1
    first, second, third = np.flatnonzero(left).tolist()
    return np.array([*triangles, (first, second, third)])


def _flat(corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Polygons (M, n, 3) along the main axes of their normals (M, 3): (M, n, 2), counter-clockwise."""
    drop = np.abs(normals).argmax(axis=1)  # (M,)
    axes = np.array([(1, 2), (2, 0), (0, 1)])[drop]  # (M, 2)
    flat = np.take_along_axis(corners, axes[:, None], axis=2)
    sign = np.sign(normals[np.arange(len(normals)), drop])
    return flat * np.stack([sign, np.ones_like(sign)], axis=1)[:, None]


def _cut_quads(corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """`clip_ears` of many quadrilaterals at once: (M, 4, 3) → (M, 2, 3)."""
    flat = _flat(corners, normals)
    a, b, c, other = (np.roll(flat, shift, axis=1) for shift in (1, 0, -1, -2))  # of each corner, (M, 4, 2)
    area = _twice_area(a, b, c)
    inside = np.ones(area.shape, bool)
    for start, end in ((a, b), (b, c), (c, a)):
        inside &= (_twice_area(start, end, other) >= 0) & (start != other).any(axis=2)
    possible = (area > 0) & ~inside
    ear = np.where(possible.any(axis=1), possible.argmax(axis=1), area.argmax(axis=1))
    return np.array([[[3, 0, 1], [1, 2, 3]], [[0, 1, 2], [0, 2, 3]], [[1, 2, 3], [0, 1, 3]], [[2, 3, 0], [0, 1, 2]]])[
        ear
    ]


def _twice_area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Twice the signed area of triangles with corners (…, 2); positive for counter-clockwise ones."""
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


def _blocker(flat: np.ndarray, left: np.ndarray, a: int, b: int, c: int) -> int:
    """A corner that lies in the triangle of three others and at none of their places; -1 if there is none."""
    triangle = flat[[a, b, c]]
    (ax, ay), (bx, by), (cx, cy) = triangle.tolist()
    x, y = flat[:, 0], flat[:, 1]
    inside = left & ((bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0)
    inside &= (cx - bx) * (y - by) - (cy - by) * (x - bx) >= 0
    inside &= (ax - cx) * (y - cy) - (ay - cy) * (x - cx) >= 0
    candidates = np.flatnonzero(inside)
    candidates = candidates[(flat[candidates][:, None] != triangle).any(axis=2).all(axis=1)]
    return int(candidates[0]) if len(candidates) else -1
