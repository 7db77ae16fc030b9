"""Dual surface extraction with learned weights (FlexiCubes, Shen et al. 2023, arXiv 2308.05371).

A cell has a vertex for each piece of surface inside it, at a weighted mean of the crossings of that piece's edges; a
crossed edge of the grid becomes the quad of the four vertices round it. Axis letters: N crossed cells, K pairs of a
cell and a crossed edge of it, D dual vertices, Q quads; others in `surface_extraction`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.geometry.cell_loops import EDGES, FACE_EDGES, FACES, ambiguous_table, loop_table
from fieldforge.geometry.surface_extraction import DistanceGrid, ExtractedSurface, crossing

WEIGHTS = 21
"""Raw weights of a cell: 8 of corners (α), 12 of edges (β), 1 of how quads split (γ); 0 is neutral."""

REACH = 0.99  # weights α, β stay within 1 ± REACH


def dual_vertices(
    distances: Tensor, offsets: Tensor | None = None, weights: Tensor | None = None, centers: bool = True
) -> ExtractedSurface:
    """The zero set of distances (G, G, G), negative inside, with one vertex for each piece of surface in a cell.

    offsets (G, G, G, 3) move the grid's points; weights (G-1, G-1, G-1, 21) are the cells' raw weights. With `centers`
    quads are four triangles round a vertex in their middle, as gradients need it; without, two, as files need them.
    The surface is a closed 2-manifold whose faces look outward, or empty. Loss terms: `sign`, and `deviation`, the
    paper's L_dev, mean over edges and in cells.
    """
    grid = DistanceGrid(distances, offsets)
    assert weights is None or weights.shape == (*(grid.resolution,) * 3, WEIGHTS), f"weights {tuple(weights.shape)}"
    cells = _Cells.of(grid)
    raw = distances.new_zeros(1, WEIGHTS) if weights is None else weights.flatten(0, 2)[cells.numbers(grid)]
    raw = raw.float().expand(len(cells.corner), WEIGHTS)  # (N, 21)
    vertices, deviation = _vertices(grid, cells, 1 + REACH * raw[:, :8].tanh(), 1 + REACH * raw[:, 8:20].tanh())
    quads, owner = _quads(grid, cells)
    gamma = (REACH * raw[:, 20].sigmoid() + (1 - REACH) / 2)[owner]  # (Q, 4)
    vertices, faces = _split(vertices, quads, gamma, centers)
    return ExtractedSurface(vertices, faces, {"sign": grid.sign_loss(), "deviation": deviation})


@dataclass(frozen=True)
class _Cells:
    """Crossed cells: the point at the lowest corner (N,); loop (N, 12) of each edge, -1 without; first vertex (N,)."""

    corner: Tensor
    loop: Tensor
    first: Tensor

    @staticmethod
    def of(grid: DistanceGrid) -> "_Cells":
        corner = grid.crossed_cells()
        loop = _manifold_loops(grid, corner)
        counts = loop.amax(dim=1) + 1
        return _Cells(corner, loop, counts.cumsum(0) - counts)

    def numbers(self, grid: DistanceGrid) -> Tensor:
        """Flat numbers (N,) of the cells among resolution³."""
        x, y, z = (self.corner.unsqueeze(-1) // grid.strides % grid.size).unbind(-1)
        return (x * grid.resolution + y) * grid.resolution + z


def _manifold_loops(grid: DistanceGrid, corner: Tensor) -> Tensor:
    """Loops (N, 12) of the cells' edges, such that no two edges of the dual surface coincide.

    An ambiguous face joins the corners that its bilinear interpolation joins (asymptotic decider, Nielson and Hamann
    1991): both of its cells see the same. Where both pairs of such a face belong to one loop on either side, four quads
    would share an edge. Joining the other corners cuts that loop in two in both cells. Only one face of a cell is
    changed at a time; as every change makes more loops, this ends.
    """
    device = corner.device
    points = corner.unsqueeze(-1) + grid.corner_steps  # (N, 8)
    code = (grid.inside[points].long() << torch.arange(8, device=device)).sum(dim=-1)
    ring = grid.distances.detach()[points[:, torch.tensor(FACES, device=device)]]  # (N, 6, 4)
    first, second = ring[..., 0] * ring[..., 2], ring[..., 1] * ring[..., 3]
    joined = torch.where(ring[..., 0] < 0, first > second, second > first)  # (N, 6): inside corners
    ambiguous = ambiguous_table().to(device)[code]  # (N, 6)
    table, bits = loop_table().to(device), torch.arange(6, device=device)
    cell, axis = ambiguous[:, 1::2].nonzero(as_tuple=True)  # each ambiguous face once, at the cell below it
    upper = torch.searchsorted(corner, corner[cell] + grid.strides[axis])
    edges = torch.tensor(FACE_EDGES, device=device)
    while True:
        loop = table[code, (joined.long() << bits).sum(dim=-1)].long()  # (N, 12)
        bad = _is_one_loop(loop[cell], edges[2 * axis + 1]) & _is_one_loop(loop[upper], edges[2 * axis])
        if not bad.any():
            return loop
        face = bad.nonzero()[:, 0]
        least = torch.full_like(corner, len(cell))
        for side in (cell, upper):
            least = least.scatter_reduce(0, side[face], face, "amin")
        face = face[(least[cell[face]] == face) & (least[upper[face]] == face)]
        for side, number in ((cell[face], 2 * axis[face] + 1), (upper[face], 2 * axis[face])):
            joined[side, number] = ~joined[side, number]


def _is_one_loop(loop: Tensor, edges: Tensor) -> Tensor:
    """Whether four edges (K, 4) of each cell, loop (K, 12), are of the same loop."""
    four = loop.gather(1, edges)
    return (four == four[:, :1]).all(dim=1)


def _vertices(grid: DistanceGrid, cells: _Cells, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """Dual vertices (D, 3), eq. 3 and 4, and the mean of L_dev, eq. 8; corner and edge weights α (N, 8), β (N, 12)."""
    cell, edge = (cells.loop >= 0).nonzero(as_tuple=True)  # (K,)
    ends = torch.tensor(EDGES, device=cell.device)[edge]  # (K, 2)
    points = cells.corner[cell].unsqueeze(-1) + grid.corner_steps[ends]  # (K, 2)
    values, places = grid.distances[points] * alpha[cell.unsqueeze(-1), ends], grid.places(points)
    cuts = crossing(values[:, 0], values[:, 1], places[:, 0], places[:, 1])  # (K, 3)
    vertex = cells.first[cell] + cells.loop[cell, edge]
    count = int(cells.loop.amax(dim=1).add(1).sum()) if len(cell) else 0
    weight = beta[cell, edge].unsqueeze(-1)
    sums = cuts.new_zeros(count, 4).index_add(0, vertex, torch.cat([cuts * weight, weight], dim=-1))
    vertices = sums[:, :3] / sums[:, 3:]
    reach = ((cuts - vertices[vertex]).square().sum(dim=-1) / grid.spacing**2 + 1e-12).sqrt()  # (K,) cells
    edges_of = cuts.new_zeros(count).index_add(0, vertex, torch.ones_like(reach))
    mean = cuts.new_zeros(count).index_add(0, vertex, reach) / edges_of
    return vertices, (reach - mean[vertex]).abs().sum() / max(len(reach), 1)


def _quads(grid: DistanceGrid, cells: _Cells) -> tuple[Tensor, Tensor]:
    """Vertices (Q, 4) of each quad, counter-clockwise from outside, and the cells (Q, 4) that own them.

    Every crossed edge starts at the lowest corner of exactly one cell, as the grid's outermost layer is outside.
    """
    quads, owners = [], []
    for axis in range(3):
        cell = (cells.loop[:, 4 * axis] >= 0).nonzero()[:, 0]
        start = cells.corner[cell]
        down = grid.strides.roll(-axis)[1:]  # of the next two axes in cyclic order
        # Round the axis, seen against it; the edge lies at (1, 1), (0, 1), … of these cells.
        ring = [(0, 0), (1, 0), (1, 1), (0, 1)]
        at = torch.stack([start - i * down[0] - j * down[1] for i, j in ring], dim=-1)  # (Q, 4)
        owner = torch.searchsorted(cells.corner, at)
        edge = torch.tensor([4 * axis + 2 * i + j for i, j in ring], device=start.device)
        quad = cells.first[owner] + cells.loop[owner, edge]
        leaves = grid.inside[start].unsqueeze(-1)  # the normal is along the axis where the edge starts inside
        quads.append(torch.where(leaves, quad, quad.flip(-1)))
        owners.append(torch.where(leaves, owner, owner.flip(-1)))
    return torch.cat(quads), torch.cat(owners)


def _split(vertices: Tensor, quads: Tensor, gamma: Tensor, centers: bool) -> tuple[Tensor, Tensor]:
    """Triangles of quads (Q, 4) with vertex weights γ (Q, 4): section 4.3, eq. 5."""
    even, odd = gamma[:, 0] * gamma[:, 2], gamma[:, 1] * gamma[:, 3]
    if not centers:
        turned = torch.where((even >= odd).unsqueeze(-1), quads, quads.roll(-1, dims=1))
        return vertices, torch.cat([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]])
    corner = vertices[quads]  # (Q, 4, 3)
    share = (even / (even + odd)).unsqueeze(-1)
    middle = share * (corner[:, 0] + corner[:, 2]) / 2 + (1 - share) * (corner[:, 1] + corner[:, 3]) / 2
    center = len(vertices) + torch.arange(len(quads), device=quads.device)
    faces = [torch.stack([quads[:, k], quads[:, (k + 1) % 4], center], dim=-1) for k in range(4)]
    return torch.cat([vertices, middle]), torch.cat(faces)
