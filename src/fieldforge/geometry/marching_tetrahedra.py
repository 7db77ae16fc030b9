"""Marching tetrahedra with gradients (Doi and Koide 1991; DMTet, Shen et al. 2021, arXiv 2111.04276, section 3.1).

Each cell of the grid is six tetrahedra round its diagonal, alike in all cells, so that neighbours agree on their faces
(Freudenthal 1942; Kuhn 1960). Axis letters: M tetrahedra, T triangles, P vertices; others in `surface_extraction`.
"""

from functools import cache
from itertools import permutations

import torch
from torch import Tensor

from fieldforge.geometry.surface_extraction import DistanceGrid, ExtractedSurface, crossing

EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
NO_TRIANGLE = (-1, -1, -1)


def marching_tetrahedra(distances: Tensor, offsets: Tensor | None = None) -> ExtractedSurface:
    """The zero set of distances (G, G, G), negative inside, on a grid whose points offsets (G, G, G, 3) move.

    A closed surface with outward faces, see `DistanceGrid`; empty where there is no zero set. Loss term: `sign`.
    """
    grid = DistanceGrid(distances, offsets)
    losses = {"sign": grid.sign_loss()}
    corners = grid.crossed_cells().unsqueeze(-1) + grid.corner_steps  # (N, 8)
    tetrahedra = corners[:, _tetrahedra().to(corners.device)].reshape(-1, 4)  # (M, 4)
    code = (grid.inside[tetrahedra].long() << torch.arange(4, device=corners.device)).sum(dim=-1)
    triangles = _cases().to(corners.device)[code]  # (M, 2, 3) edges
    present = triangles[..., 0] >= 0  # (M, 2)
    tetrahedron, _ = present.nonzero(as_tuple=True)  # (T,)
    edges = torch.tensor(EDGES, device=corners.device)[triangles[present]]  # (T, 3, 2)
    ends = tetrahedra[tetrahedron].gather(1, edges.flatten(1)).view_as(edges).sort(dim=-1).values
    count = len(grid.distances)
    edge, faces = (ends[..., 0] * count + ends[..., 1]).unique(return_inverse=True)  # (P,), (T, 3)
    low, high = edge // count, edge % count
    vertices = crossing(grid.distances[low], grid.distances[high], grid.places(low), grid.places(high))
    return ExtractedSurface(vertices, faces, losses)


@cache
def _tetrahedra() -> Tensor:
    """Corners (6, 4) of the tetrahedra of a cell, in an order of positive volume."""
    paths = []
    for order in permutations(range(3)):
        corner, path = [0, 0, 0], [0]
        for axis in order:
            corner[axis] = 1
            path.append(4 * corner[0] + 2 * corner[1] + corner[2])
        odd = sum(order[i] > order[j] for i in range(3) for j in range(i + 1, 3)) % 2
        paths.append([path[0], path[2], path[1], path[3]] if odd else path)
    return torch.tensor(paths)


@cache
def _cases() -> Tensor:
    """Edges (16, 2, 3) of the triangles for each set of inside corners (bit k: corner k); -1 for no triangle."""
    return torch.tensor([_case([bool(code >> corner & 1) for corner in range(4)]) for code in range(16)])


def _case(inside: list[bool]) -> list[tuple[int, int, int]]:
    ins, outs = ([corner for corner in range(4) if inside[corner] is side] for side in (True, False))
    edge = {frozenset(ends): number for number, ends in enumerate(EDGES)}
    if len(ins) == 2:
        (a, b), (c, d) = ins, outs
        ring = [edge[frozenset(ends)] for ends in ((a, c), (a, d), (b, d), (b, c))]
        triangles = [(ring[0], ring[1], ring[2]), (ring[0], ring[2], ring[3])]
    else:
        cut = [edge[frozenset((a, b))] for a in ins for b in outs]  # three, or none
        triangles = [(cut[0], cut[1], cut[2]), NO_TRIANGLE] if cut else [NO_TRIANGLE] * 2
    return [_outward(triangle, ins, outs) if triangle != NO_TRIANGLE else triangle for triangle in triangles]


def _outward(triangle: tuple[int, int, int], ins: list[int], outs: list[int]) -> tuple[int, int, int]:
    """The triangle of edges' middles, turned so that its normal points from the inside corners to the outside ones."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])  # positive volume
    a, b, c = (corners[list(EDGES[edge])].mean(dim=0) for edge in triangle)
    normal = torch.linalg.cross(b - a, c - a)
    outward = corners[outs].mean(dim=0) - corners[ins].mean(dim=0)
    return triangle if normal @ outward > 0 else (triangle[0], triangle[2], triangle[1])
