"""Loops of crossed edges round a cell: which edges of a cell belong to the same piece of the surface inside it.

On a face of the cell the surface joins crossed edges in pairs. Two crossed edges are one pair. With four, at corners of
alternating signs, the face is ambiguous: either the inside corners are joined, and each outside corner is cut off, or
the other way round. Pairs chain up to loops; a loop gets a dual vertex (Nielson 2004, "Dual marching cubes").
The tables follow from this alone. Numbers of corners as in `surface_extraction.CORNERS`.
"""

from functools import cache

import torch
from torch import Tensor

from fieldforge.geometry.surface_extraction import CORNERS


def _corner(axis: int, along: int, first: int, second: int) -> int:
    """The corner with coordinate `along` on the axis, and `first`, `second` on the next two axes in cyclic order."""
    place = [0, 0, 0]
    place[axis], place[(axis + 1) % 3], place[(axis + 2) % 3] = along, first, second
    return CORNERS.index((place[0], place[1], place[2]))


EDGES = tuple(
    (_corner(axis, 0, i, j), _corner(axis, 1, i, j)) for axis in range(3) for i in (0, 1) for j in (0, 1)
)  # edge 4 · axis + 2i + j, from its lower to its higher corner
FACES = tuple(
    tuple(_corner(axis, side, i, j) for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)))
    for axis in range(3)
    for side in (0, 1)
)  # face 2 · axis + side, corners in a ring
FACE_EDGES = tuple(
    tuple(
        next(number for number, ends in enumerate(EDGES) if set(ends) == {face[k], face[(k + 1) % 4]}) for k in range(4)
    )
    for face in FACES
)


@cache
def loop_table() -> Tensor:
    """Loop (256, 64, 12) of each edge, counted from 0, or -1 where it is not crossed; int8.

    The first index has bit k for inside corner k; the second has bit f where face f, if it is ambiguous, joins its
    inside corners.
    """
    table = torch.full((256, 64, 12), -1, dtype=torch.int8)
    for code in range(256):
        inside = [bool(code >> corner & 1) for corner in range(8)]
        mask = sum(1 << number for number, face in enumerate(FACES) if _is_ambiguous(inside, face))
        known: dict[int, Tensor] = {}
        for joined in range(64):
            key = joined & mask
            if key not in known:
                known[key] = torch.tensor(_loops(inside, key), dtype=torch.int8)
            table[code, joined] = known[key]
    return table


@cache
def ambiguous_table() -> Tensor:
    """Whether a face is ambiguous, (256, 6) bool."""
    codes = [[bool(code >> corner & 1) for corner in range(8)] for code in range(256)]
    return torch.tensor([[_is_ambiguous(inside, face) for face in FACES] for inside in codes])


def _is_ambiguous(inside: list[bool], face: tuple[int, ...]) -> bool:
    return all(inside[face[k]] != inside[face[(k + 1) % 4]] for k in range(4))


def _loops(inside: list[bool], joined: int) -> list[int]:
    crossed = [inside[a] != inside[b] for a, b in EDGES]
    loop = list(range(12))
    for number, (face, edges) in enumerate(zip(FACES, FACE_EDGES, strict=True)):
        for first, second in _pairs(inside, face, edges, bool(joined >> number & 1)):
            old, new = loop[second], loop[first]
            loop = [new if one == old else one for one in loop]
    names = sorted({one for one, cut in zip(loop, crossed, strict=True) if cut})
    return [names.index(one) if cut else -1 for one, cut in zip(loop, crossed, strict=True)]


def _pairs(inside: list[bool], face: tuple[int, ...], edges: tuple[int, ...], joined: bool) -> list[tuple[int, int]]:
    """Pairs of crossed edges of a face; edge k runs from corner k to the next one."""
    crossed = [edges[k] for k in range(4) if inside[face[k]] != inside[face[(k + 1) % 4]]]
    if len(crossed) == 4:
        return [(edges[k - 1], edges[k]) for k in range(4) if inside[face[k]] != joined]
    return [(crossed[0], crossed[1])] if crossed else []
