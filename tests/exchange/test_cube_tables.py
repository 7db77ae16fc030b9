"""Tables of marching cubes in diffusers' own decoder: closed surfaces that look outward, whatever the grid."""

import numpy as np
import pytest
import torch
import trimesh
from diffusers.pipelines.shap_e.renderer import MeshDecoder

from fieldforge.exchange.cube_tables import cube_tables


def decoded(field: torch.Tensor) -> trimesh.Trimesh:
    decoder = MeshDecoder()
    decoder.cases, decoder.masks = cube_tables()
    mesh = decoder(field, torch.full((3,), -1.0), torch.full((3,), 2.0))
    return trimesh.Trimesh(mesh.verts.numpy(), mesh.faces.numpy(), process=False)


def test_a_ball_has_its_volume_and_looks_outward():
    axis = torch.linspace(-1, 1, 25)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    mesh = decoded(0.7 - points.norm(dim=-1))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.7**3, rel=0.01)


def test_noise_uses_every_case_and_is_closed():
    torch.manual_seed(0)
    field = torch.full((22, 22, 22), -1.0)
    field[1:-1, 1:-1, 1:-1] = torch.randn(20, 20, 20)
    bits = [field[x : x + 21, y : y + 21, z : z + 21] > 0 for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    codes = sum(bit.long() << number for number, bit in enumerate(bits))
    assert len(codes.unique()) == 256
    mesh = decoded(field)
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    directed = np.sort((mesh.edges[:, 0] * len(mesh.vertices) + mesh.edges[:, 1]).astype(np.int64))
    reverse = np.sort((mesh.edges[:, 1] * len(mesh.vertices) + mesh.edges[:, 0]).astype(np.int64))
    np.testing.assert_array_equal(directed, reverse)  # each edge is walked as often in either direction
