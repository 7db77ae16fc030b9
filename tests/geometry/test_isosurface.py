import math

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.geometry.colored_mesh import ColoredMesh, vertex_normals
from fieldforge.geometry.isosurface import corners_of, distance_grid, extract_mesh, reduce_corners


def ball(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 0.7


def thin_table(points: Tensor) -> Tensor:
    """Distance to a plate of thickness 0.02 on a leg of width 0.06: thinner than a coarse cell."""

    def box(center: list[float], half: list[float]) -> Tensor:
        outside = (points - torch.tensor(center)).abs() - torch.tensor(half)
        return outside.clamp_min(0).norm(dim=-1) + outside.amax(dim=-1).clamp_max(0)

    return torch.minimum(box([0.013, 0.5, 0.0], [0.8, 0.01, 0.6]), box([0.1, -0.2, 0.05], [0.03, 0.7, 0.03]))


def scattered(kind: str, size: float, seed: int):
    """Distance to six rods or balls of radius `size`, or sheets twice as thick, of any pose."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.rand(6, 3, generator=generator) - 0.5
    turns = torch.linalg.qr(torch.randn(6, 3, 3, generator=generator)).Q
    half = torch.tensor({"rods": [0.4, 0, 0], "sheets": [0.4, 0.3, 0], "balls": [0, 0, 0]}[kind])

    def query(points: Tensor) -> Tensor:
        local = torch.einsum("npi,pij->npj", points[:, None] - middles, turns)  # (N, 6, 3)
        return ((local.abs() - half).clamp_min(0).norm(dim=-1) - size).amin(dim=-1)

    return query


def grey(points: Tensor) -> Tensor:
    return torch.full_like(points, 0.5)


def counted(query):
    queries = [0]

    def count(points: Tensor) -> Tensor:
        queries[0] += len(points)
        return query(points)

    return count, queries


def test_the_mesh_of_a_ball_is_a_watertight_ball_with_outward_faces_and_normals():
    mesh = extract_mesh(ball, lambda points: (points + 1) / 2, 64)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=2e-3), "positive: faces look outward"
    radii = np.linalg.norm(mesh.vertices, axis=1)
    np.testing.assert_allclose(radii, 0.7, atol=1e-3)
    assert ((mesh.normals * mesh.vertices).sum(axis=1) / radii).min() > 0.99
    np.testing.assert_allclose(mesh.colors, (mesh.vertices + 1) / 2, atol=1e-6)


@pytest.mark.parametrize("query", [ball, thin_table])
@pytest.mark.parametrize("resolution", [64, 100, 128])
def test_coarse_to_fine_finds_the_surface_of_the_dense_grid_with_a_part_of_its_questions(query, resolution):
    sparse_query, queries = counted(query)
    sparse = distance_grid(sparse_query, resolution, lipschitz=1.0, coarsest=16)
    dense = distance_grid(query, resolution, coarsest=resolution)
    assert torch.equal(sparse < 0, dense < 0)
    crossing = torch.zeros_like(dense, dtype=torch.bool)
    for axis in range(3):  # ends of grid edges that the surface crosses: all that marching cubes reads
        low, high = dense.narrow(axis, 0, resolution), dense.narrow(axis, 1, resolution)
        cut = (low < 0) != (high < 0)
        crossing.narrow(axis, 0, resolution).logical_or_(cut)
        crossing.narrow(axis, 1, resolution).logical_or_(cut)
    assert torch.equal(sparse[crossing], dense[crossing])
    assert queries[0] < 0.35 * dense.numel()


@pytest.mark.parametrize("kind", ["rods", "sheets", "balls"])
@pytest.mark.parametrize("size", [0.004, 0.01, 0.025])
def test_thin_parts_between_grid_points_are_found(kind, size):
    for seed in range(3):
        query = scattered(kind, size, seed)
        dense = distance_grid(query, 128, coarsest=128) < 0
        assert torch.equal(distance_grid(query, 128) < 0, dense)


def test_the_surface_of_a_ball_asks_for_little_more_than_its_own_corners():
    query, queries = counted(ball)
    dense = distance_grid(ball, 128, coarsest=128) < 0
    crossed = reduce_corners(torch.logical_or, dense) & reduce_corners(torch.logical_or, ~dense)
    distance_grid(query, 128)
    assert queries[0] - 33**3 < 2.2 * int(corners_of(crossed).sum())


def test_a_steeper_field_needs_its_lipschitz_constant():
    def steep(points: Tensor) -> Tensor:
        return 3 * thin_table(points)

    dense = distance_grid(steep, 128, coarsest=128) < 0
    assert torch.equal(distance_grid(steep, 128, lipschitz=3.0) < 0, dense)


def test_a_field_that_jumps_beside_its_surface_is_refined_there():
    def jumping(points: Tensor) -> Tensor:  # as a field of cells does on the walls of cells that hold no surface
        near = (points * 8).floor() / 8 + 1 / 16  # the middle of the cell of each point
        return torch.where(ball(near).abs() < 0.06, ball(points), ball(points).sign() / 8)

    dense = distance_grid(jumping, 100, coarsest=100) < 0
    assert torch.equal(distance_grid(jumping, 100) < 0, dense)


def test_the_resolution_need_not_be_a_power_of_two():
    assert distance_grid(ball, 37).shape == (38, 38, 38)
    grid = distance_grid(lambda points: points[:, 0] + 10 * points[:, 1] + 100 * points[:, 2], 4)
    np.testing.assert_allclose(grid[3, 0, 2], 0.5 - 10 + 0, atol=1e-6)  # indexed x, y, z


def test_questions_come_in_chunks():
    sizes = []

    def query(points: Tensor) -> Tensor:
        sizes.append(len(points))
        return ball(points)

    extract_mesh(query, grey, 16, chunk=100)
    assert max(sizes) <= 100


@pytest.mark.parametrize("distance", [0.3, 0.0])
def test_a_field_without_inside_gives_the_empty_mesh(distance):
    mesh = extract_mesh(lambda points: torch.full(points.shape[:1], distance), grey, 16)
    assert mesh.is_empty
    assert mesh.vertices.shape == (0, 3)


def test_matter_up_to_the_walls_of_the_box_is_closed_there():
    mesh = extract_mesh(lambda points: points[:, 1], grey, 64)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4.0, rel=0.01)


def test_a_diverged_field_is_reported():
    with pytest.raises(UserError, match="not finite at 4 of 8 points"):
        extract_mesh(lambda points: torch.where(points[:, 0] > 0, torch.nan, 1.0), grey, 1)


def test_vertex_normals_are_weighted_by_angle():
    # Two faces share an edge along x: one in the xz plane, one in the xy plane, with right angles at the origin.
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 2, 0], [5, 5, 5]])
    faces = np.array([[0, 2, 1], [0, 1, 3]])
    normals = vertex_normals(vertices, faces)
    shallow, steep = math.pi / 4, math.atan(2)  # the angles at the shared vertex (1, 0, 0)
    np.testing.assert_allclose(normals[0], np.array([0, 1, 1]) / math.sqrt(2), atol=1e-6)
    np.testing.assert_allclose(normals[1], np.array([0, shallow, steep]) / math.hypot(shallow, steep), atol=1e-6)
    np.testing.assert_allclose(normals[2:], [[0, 1, 0], [0, 0, 1], [0, 1, 0]], atol=1e-6)


def test_a_mesh_checks_itself():
    points = np.zeros((2, 3), np.float32)
    with pytest.raises(AssertionError, match="not there"):
        ColoredMesh(points, np.array([[0, 1, 2]]), points, points)
