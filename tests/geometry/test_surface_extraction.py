import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from fieldforge.geometry.cell_loops import FACE_EDGES, FACES, loop_table
from fieldforge.geometry.dual_vertices import WEIGHTS, dual_vertices
from fieldforge.geometry.marching_tetrahedra import marching_tetrahedra
from fieldforge.geometry.surface_extraction import ExtractedSurface


def dual_without_centers(distances: Tensor, offsets: Tensor | None = None) -> ExtractedSurface:
    return dual_vertices(distances, offsets, centers=False)


every_extraction = pytest.mark.parametrize("extract", [marching_tetrahedra, dual_vertices, dual_without_centers])


def grid_points(size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    axis = torch.linspace(-1, 1, size, dtype=dtype)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def ball(size: int, radius: float | Tensor = 0.7) -> Tensor:
    return grid_points(size).norm(dim=-1) - radius


def torus(size: int) -> Tensor:
    points = grid_points(size)
    return torch.stack([points[..., :2].norm(dim=-1) - 0.55, points[..., 2]], dim=-1).norm(dim=-1) - 0.25


def solid(surface: ExtractedSurface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices.detach().numpy(), surface.faces.numpy(), process=False)


def noise(seed: int, size: int = 12) -> Tensor:
    return torch.randn(size, size, size, generator=torch.Generator().manual_seed(seed))


@every_extraction
@pytest.mark.parametrize(
    ("distances", "volume", "area", "euler"),
    [
        (ball(49), 4 / 3 * math.pi * 0.7**3, 4 * math.pi * 0.7**2, 2),
        (torus(49), 2 * math.pi**2 * 0.55 * 0.25**2, 4 * math.pi**2 * 0.55 * 0.25, 0),
    ],
    ids=["ball", "torus"],
)
def test_balls_and_tori_have_their_volume_area_and_topology(extract, distances, volume, area, euler):
    mesh = solid(extract(distances))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(volume, rel=0.013), "positive: faces look outward"
    assert mesh.area == pytest.approx(area, rel=0.01)
    assert mesh.euler_number == euler


@every_extraction
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_surface_of_noise_is_a_closed_manifold(extract, seed):
    """Noise has all cases of a cell beside each other: ambiguous faces, tunnels, single corners."""
    surface = extract(noise(seed), 3 * torch.randn(12, 12, 12, 3, generator=torch.Generator().manual_seed(seed)))
    faces = surface.faces.numpy()
    halves = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ways, counts = np.unique(halves, axis=0, return_counts=True)
    assert counts.max() == 1, "each edge once in each direction"
    assert {(a, b) for a, b in ways.tolist()} == {(b, a) for a, b in ways.tolist()}
    following = {(int(a), int(b)): int(c) for face in faces for a, b, c in (np.roll(face, -k) for k in range(3))}
    around = {int(a): int(b) for a, b in ways}  # one edge of each vertex
    degree = np.bincount(halves[:, 0])
    for vertex, first in around.items():  # the faces round a vertex are one fan
        count, other = 1, following[vertex, first]
        while other != first:
            count, other = count + 1, following[vertex, other]
        assert count == degree[vertex]


@every_extraction
def test_a_sheet_thinner_than_a_cell_has_both_its_sides(extract):
    points = grid_points(33)
    sheet = torch.maximum(
        (points[..., 1]).abs() - 0.01, points[..., [0, 2]].abs().amax(dim=-1) - 0.53
    )  # one layer of points inside
    mesh = solid(extract(sheet))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(0.02 * 1.06**2, rel=0.12)
    assert mesh.area == pytest.approx(2 * 1.06**2, rel=0.12)
    assert mesh.euler_number == 2


@every_extraction
def test_matter_up_to_the_walls_of_the_box_is_closed_there(extract):
    mesh = solid(extract(grid_points(17)[..., 1]))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4.0, rel=0.15)


@every_extraction
@pytest.mark.parametrize("value", [1.0, 0.0, math.nan, math.inf])
def test_nothing_to_extract_gives_empty_tensors_and_zero_gradients(extract, value):
    distances = torch.full((9, 9, 9), value, requires_grad=True)
    offsets = torch.zeros(9, 9, 9, 3, requires_grad=True)
    surface = extract(distances, offsets)
    assert surface.is_empty
    assert surface.vertices.shape == (0, 3)
    assert surface.faces.shape == (0, 3)
    (surface.vertices.sum() + sum(surface.loss_terms.values())).backward()
    assert distances.grad.abs().max() == 0
    assert offsets.grad.abs().max() == 0


@every_extraction
def test_what_is_not_finite_is_outside_and_gets_no_gradient(extract):
    distances = ball(17)
    distances[5:8, 8, 8] = torch.nan
    distances.requires_grad_()
    surface = extract(distances)
    assert solid(surface).is_watertight
    (surface.vertices.square().sum() + sum(surface.loss_terms.values())).backward()
    assert distances.grad.isfinite().all()
    assert distances.grad[5:8, 8, 8].abs().max() == 0


@every_extraction
def test_half_precision_and_exact_zeros_give_finite_gradients(extract):
    distances = (ball(17, 0.75) * 8).round().div(8).half().requires_grad_()
    assert (distances == 0).sum() > 50
    surface = extract(distances)
    assert solid(surface).is_watertight
    (surface.vertices.square().sum() + sum(surface.loss_terms.values())).backward()
    assert distances.grad.isfinite().all()


def volume(surface: ExtractedSurface) -> Tensor:
    a, b, c = surface.vertices[surface.faces].unbind(dim=1)
    return (a * torch.linalg.cross(b, c)).sum() / 6


@every_extraction
def test_the_volume_of_a_growing_ball_grows_by_its_area(extract):
    radius = torch.tensor(0.61, requires_grad=True)
    (slope,) = torch.autograd.grad(volume(extract(ball(41, radius))), radius)
    assert slope == pytest.approx(4 * math.pi * 0.61**2, rel=0.01)


def test_gradients_to_distances_offsets_and_weights_agree_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(4000, 3, generator=generator)

    def probe(surface: ExtractedSurface) -> Tensor:
        return (surface.vertices * direction[: len(surface.vertices)]).sum() + sum(surface.loss_terms.values())

    arguments = [ball(9, 0.63), torch.randn(9, 9, 9, 3, generator=generator)]
    learned = torch.randn(8, 8, 8, WEIGHTS, generator=generator)
    for extract, inputs in ((marching_tetrahedra, arguments), (dual_vertices, [*arguments, learned])):
        for number, tensor in enumerate(inputs):
            step = torch.randn(tensor.shape, generator=generator)
            changed = [[*inputs[:number], tensor + h * step, *inputs[number + 1 :]] for h in (3e-4, -3e-4)]
            high, low = (probe(extract(*given)) for given in changed)
            leaf = tensor.clone().requires_grad_()
            (slope,) = torch.autograd.grad(probe(extract(*inputs[:number], leaf, *inputs[number + 1 :])), leaf)
            assert float((slope * step).sum()) == pytest.approx(float(high - low) / 6e-4, rel=0.02)


def test_weights_move_dual_vertices_within_their_cell_and_keep_the_faces():
    weights = 3 * torch.randn(16, 16, 16, WEIGHTS, generator=torch.Generator().manual_seed(0))
    plain, moved = dual_vertices(ball(17), centers=False), dual_vertices(ball(17), None, weights, centers=False)
    assert (plain.vertices - moved.vertices).norm(dim=-1).mean() > 0.1 * 2 / 16
    cells = [((surface.vertices + 1) * 8).floor() for surface in (plain, moved)]
    assert (cells[0] == cells[1]).all(dim=-1).float().mean() > 0.99  # but for rounding on walls of cells
    assert plain.loss_terms["deviation"] < moved.loss_terms["deviation"]


def test_offsets_move_the_surface_with_the_grids_points():
    """A plane through moved points: the value at a point goes where the point goes."""
    offsets = torch.zeros(9, 9, 9, 3)
    offsets[..., 1] = 100.0  # tanh = 1: every point moves up by 1 / (2 · 8)
    for extract in (marching_tetrahedra, dual_vertices):
        still, moved = extract(ball(9)), extract(ball(9), offsets)
        torch.testing.assert_close(moved.vertices, still.vertices + torch.tensor([0.0, 1 / 16, 0.0]))


def test_the_sign_loss_is_the_cross_entropy_of_crossed_edges():
    distances = torch.full((4, 4, 4), 1.0)
    distances[1, 1, 1] = -2.0
    cell = 2 / 3
    expected = (math.log1p(math.exp(2 / cell)) + math.log1p(math.exp(1 / cell))) / 2  # six like edges
    assert marching_tetrahedra(distances).loss_terms["sign"] == pytest.approx(expected, rel=1e-5)


def test_loops_are_rings_round_the_cell_for_every_choice_of_its_faces():
    """Each loop visits an edge once: of a loop, every edge has two neighbours over the faces beside it."""
    table = loop_table()
    for code in range(256):
        inside = [bool(code >> corner & 1) for corner in range(8)]
        for joined in (0, 63):
            loop = table[code, joined].tolist()
            for face, edges in zip(FACES, FACE_EDGES, strict=True):
                cut = [edge for edge in edges if loop[edge] >= 0]
                changes = sum(inside[a] != inside[b] for a, b in pairwise([*face, face[0]]))
                assert len(cut) == changes
                if len(cut) == 2:
                    assert loop[cut[0]] == loop[cut[1]]
            for name in range(max(loop) + 1):
                assert loop.count(name) >= 3
    pieces = table.amax(dim=2) + 1
    assert pieces.max() == 4
    checkerboard = sum(1 << corner for corner in (0, 3, 5, 6))
    assert pieces[checkerboard, 0] == 4  # its four corners apart
    assert pieces[checkerboard, 63] == 4  # … or the other four
