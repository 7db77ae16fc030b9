"""Isosurface extraction: from a signed distance function on the box to the mesh of its zero set.

Axis letters: N points; G = resolution + 1 grid points along each axis.
"""

from collections.abc import Callable

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.geometry.camera import BOX
from fieldforge.geometry.colored_mesh import ColoredMesh, vertex_normals
from fieldforge.geometry.field_colors import ColorQuery, query_colors

DistanceQuery = Callable[[Tensor], Tensor]  # points (N, 3) → signed distance (N,), negative inside

COARSEST = 32  # cells along an axis at which refinement starts


@torch.no_grad()
def extract_mesh(
    query_sdf: DistanceQuery,
    query_rgb: ColorQuery,
    resolution: int,
    chunk: int = 2**16,
    lipschitz: float = 1.5,
    device: torch.device | str = "cpu",
    coarsest: int = COARSEST,
) -> ColoredMesh:
    """Mesh of the zero set inside the box, from a grid of resolution³ cells; no zero set gives the empty mesh.

    Queries get at most `chunk` points on `device`. See `distance_grid` for `lipschitz` and `coarsest`. A shape that
    reaches the walls of the box is closed there, so that the mesh is watertight. Raises UserError if the field is not
    finite.
    """
    grid = distance_grid(query_sdf, resolution, chunk, lipschitz, device, coarsest)  # (G, G, G)
    _close_at_box(grid)
    if not (grid.min() < 0 < grid.max()):
        return ColoredMesh.empty()
    spacing = 2 * BOX / resolution
    vertices, faces, _, _ = marching_cubes(grid.numpy(), 0.0, allow_degenerate=False)
    vertices = (vertices * spacing - BOX).astype(np.float32)
    colors = query_colors(query_rgb, vertices, device, chunk)
    faces = faces.astype(np.int64)
    return ColoredMesh(vertices, faces, colors, vertex_normals(vertices, faces))


@torch.no_grad()
def distance_grid(
    query_sdf: DistanceQuery,
    resolution: int,
    chunk: int = 2**16,
    lipschitz: float = 1.5,
    device: torch.device | str = "cpu",
    coarsest: int = COARSEST,
) -> Tensor:
    """Signed distance (G, G, G), indexed x, y, z, at the corners of resolution³ cells; on the CPU, float32.

    Coarse to fine: from about `coarsest` cells on, each level halves the cells that the zero set may cross, and
    interpolates the others, which keeps their sign. The zero set may cross a cell whose corner distances are small
    enough, given a field that changes by at most `lipschitz` per box unit (1 for a true distance; a learned one is
    steeper in places). For such a field the zero set equals that of the dense grid.
    """
    assert resolution > 0, f"resolution of {resolution} cells"
    assert coarsest > 1, "the bend of a field needs three grid points"
    cells = resolution
    while cells % 2 == 0 and cells // 2 >= coarsest:
        cells //= 2
    corners = torch.ones((cells + 1,) * 3, dtype=torch.bool)
    grid = torch.empty(corners.shape)
    _ask(query_sdf, grid, corners, chunk, device)
    crossed = _may_cross(grid, lipschitz)  # (cells, cells, cells)
    while cells < resolution:
        cells *= 2
        crossed = _halves(grid, crossed)
        corners = corners_of(crossed)
        corners[::2, ::2, ::2] = False  # the coarser grid has them already
        grid = _with_middles(grid)
        _ask(query_sdf, grid, corners, chunk, device)
        if cells < resolution:  # there is a finer level
            crossed &= _may_cross(grid, lipschitz)
    return grid


def _ask(query_sdf: DistanceQuery, grid: Tensor, where: Tensor, chunk: int, device: torch.device | str) -> None:
    """Writes new distances into the grid (G, G, G) where the mask is true."""
    flat = where.flatten().nonzero()[:, 0]  # (N,)
    distances = []
    for part in flat.split(chunk):
        places = torch.stack(torch.unravel_index(part, where.shape), -1)  # (n, 3)
        points = 2 * BOX * (places.float() / (len(grid) - 1)) - BOX
        distances.append(query_sdf(points.to(device)).float().cpu())
    if not distances:
        return
    values = torch.cat(distances)
    strange = int((~values.isfinite()).sum())
    if strange:
        raise UserError(
            f"The signed distance of the field is not finite at {strange} of "
            f"{len(values)} points, so it has no surface: the latent or the weights behind it have diverged, "
            f"take an earlier checkpoint."
        )
    grid.view(-1).index_copy_(0, flat, values)


def _with_middles(grid: Tensor) -> Tensor:
    """The grid (G, G, G, …) with a point between each two neighbours, at their mean: (2G - 1)³."""
    for axis in range(3):
        size = list(grid.shape)
        size[axis] = 2 * size[axis] - 1
        fine = grid.new_empty(size)
        count = grid.shape[axis] - 1
        even, odd = (tuple(slice(first, None, 2) if at == axis else slice(None) for at in range(3)) for first in (0, 1))
        fine[even] = grid
        fine[odd] = (grid.narrow(axis, 0, count) + grid.narrow(axis, 1, count)) / 2
        grid = fine
    return grid


def _may_cross(grid: Tensor, lipschitz: float) -> Tensor:
    """Cells (G - 1)³ in which a field of that steepness can be zero, judged by the distances at the corners.

    A cell with corners on both sides is one, even where the field jumps. Of the others every point is within half a
    diagonal of its nearest corner, and within a whole one of all corners.
    """
    diagonal = 3**0.5 * 2 * BOX / (len(grid) - 1)
    lowest, highest = reduce_corners(torch.minimum, grid), reduce_corners(torch.maximum, grid)
    nearest = torch.minimum(lowest.abs(), highest.abs())
    farthest = torch.maximum(lowest.abs(), highest.abs())
    near = (nearest <= lipschitz * diagonal / 2) & (farthest <= lipschitz * diagonal)
    return near | ((lowest <= 0) & (highest >= 0))


def _halves(grid: Tensor, cells: Tensor) -> Tensor:
    """The halves (2G - 2)³ of the cells (G - 1)³ in which the field of the grid (G, G, G) can be zero.

    It differs from what the corners interpolate by at most half its bend along each axis, if it turns once between two
    grid points, and by an eighth if it is smooth. The whole bend is allowed for.
    """
    values = grid.unfold(0, 2, 1).unfold(1, 2, 1).unfold(2, 2, 1)[cells].permute(1, 2, 3, 0)  # (2, 2, 2, N)
    bend = reduce_corners(torch.maximum, _bend(grid))[cells]  # (N,)
    values = _with_middles(values)  # (3, 3, 3, N)
    lowest, highest = reduce_corners(torch.minimum, values), reduce_corners(torch.maximum, values)  # (2, 2, 2, N)
    halves = cells.new_zeros(*cells.shape, 2, 2, 2)
    halves[cells] = ((lowest <= bend) & (highest >= -bend)).permute(3, 0, 1, 2)
    return halves.permute(0, 3, 1, 4, 2, 5).reshape([2 * size for size in cells.shape])


def _bend(grid: Tensor) -> Tensor:
    """Sum (G, G, G) over the axes of |f(x - h) - 2 f(x) + f(x + h)|; at a wall of the box that of the next point."""
    bend = torch.zeros_like(grid)
    for axis in range(3):
        second = grid.diff(n=2, dim=axis).abs_()  # G - 2 along the axis
        ends = [second.narrow(axis, 0, 1), second, second.narrow(axis, len(grid) - 3, 1)]
        bend += torch.cat(ends, dim=axis)
    return bend


def corners_of(cells: Tensor) -> Tensor:
    """Grid points that are a corner of at least one of the cells."""
    return reduce_corners(torch.logical_or, torch.nn.functional.pad(cells, (1,) * 6))


def reduce_corners(join: Callable[[Tensor, Tensor], Tensor], grid: Tensor) -> Tensor:
    """Reduces the 2³ corners of each cell of a grid (G, G, G, …) by `join`, axis by axis: (G - 1)³."""
    for axis in range(3):
        count = grid.shape[axis] - 1
        grid = join(grid.narrow(axis, 0, count), grid.narrow(axis, 1, count))
    return grid


def _close_at_box(grid: Tensor) -> None:
    """Make the outermost layer (of a grid that is ours to change) just outside of the shape."""
    outside = 1e-3 * 2 * BOX / (len(grid) - 1)
    for axis in range(3):
        for end in (0, -1):
            grid.select(axis, end).clamp_(min=outside)
