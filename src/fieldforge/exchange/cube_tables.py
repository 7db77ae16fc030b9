"""The tables of marching cubes that diffusers' mesh decoder reads from its weights.

They follow from the loops of crossed edges round a cell (`geometry.cell_loops`): here ambiguous faces separate the
inside corners, so that neighbouring cells agree, and a loop becomes a fan of triangles. diffusers numbers corner
(x, y, z) as x + 2y + 4z and edge 4 · axis + i + 2j, with i and j on the other two axes in their order.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from fieldforge.geometry.cell_loops import FACES
from fieldforge.geometry.surface_extraction import CORNERS

MOST = 5  # triangles of a cell
RINGS = tuple(face if number % 2 else face[::-1] for number, face in enumerate(FACES))
"""Corners of the faces, counter-clockwise seen from outside of the cell."""


@cache
def cube_tables() -> tuple[Tensor, Tensor]:
    """Edges (256, 5, 3) of the triangles of each set of inside corners, and which of the five there are (256, 5).

    Triangles are counter-clockwise seen from the side of the outside corners.
    """
    cases, masks = torch.zeros(256, MOST, 3, dtype=torch.long), torch.zeros(256, MOST, dtype=torch.bool)
    for code in range(256):
        triangles = [
            (loop[0], loop[k], loop[k + 1])
            for loop in _loops([bool(code >> (x + 2 * y + 4 * z) & 1) for x, y, z in CORNERS])
            for k in range(1, len(loop) - 1)
        ]
        for number, triangle in enumerate(triangles):
            cases[code, number] = torch.tensor(triangle)
            masks[code, number] = True
    return cases, masks


def _loops(inside: list[bool]) -> list[list[int]]:
    """Loops of crossed edges, each a ring with the inside corners on its left."""
    following = {}
    for face in RINGS:
        for k in range(4):  # where the ring of the face leaves the inside, the surface turns back to where it entered
            if inside[face[k]] and not inside[face[(k + 1) % 4]]:
                back = next(n for n in range(k, k - 4, -1) if not inside[face[n - 1]])
                following[_edge(face[back], face[back - 1])] = _edge(face[k], face[(k + 1) % 4])
    loops = []
    while following:
        start, loop = next(iter(following)), []
        while start in following:
            loop.append(start)
            start = following.pop(start)
        loops.append(loop)
    return loops


def _edge(a: int, b: int) -> int:
    """diffusers' number of the edge between two corners."""
    axis = next(at for at in range(3) if CORNERS[a][at] != CORNERS[b][at])
    i, j = (CORNERS[a][at] for at in range(3) if at != axis)
    return 4 * axis + i + 2 * j
