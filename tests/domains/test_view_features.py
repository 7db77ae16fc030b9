"""Views of meshes beside stored ones: of balls, of which everything is known."""

import numpy as np
import pytest
import torch
import trimesh
from tests.runs.tiny import COLORS, write_balls

from fieldforge.data.shards import open_shards
from fieldforge.domains import view_features
from fieldforge.domains.image import ImageDomain
from fieldforge.domains.mesh_output import MeshOutput
from fieldforge.domains.shape import ShapeDomain
from fieldforge.errors import UserError
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.metrics.distribution import frechet_distance, kernel_distance

RADII = np.linspace(0.3, 0.7, 9)  # of `write_balls`


def ball(radius: float, color: str) -> MeshOutput:
    mesh = trimesh.creation.icosphere(3, radius)
    colors = np.tile(np.array(COLORS[color], np.float32) / 255, (len(mesh.vertices), 1))
    normals = (mesh.vertices / radius).astype(np.float32)
    return MeshOutput(ColoredMesh(mesh.vertices.astype(np.float32), mesh.faces, normals=normals, colors=colors))


def mean_colors(pictures: torch.Tensor) -> np.ndarray:
    return pictures.mean((2, 3)).numpy()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return ShapeDomain().stored_views(open_shards(write_balls(tmp_path_factory.mktemp("balls")), "train"), 2)


def test_the_mesh_of_a_stored_ball_looks_as_its_stored_views(stored):
    assert stored.pictures.shape == (18, 3, 16, 16)
    for number, radius in enumerate(RADII):
        rendered = stored.rendered(ball(radius, list(COLORS)[number % 3]).surface)
        errors = (rendered - stored.pictures.unflatten(0, (9, 2))).abs().mean((1, 2, 3, 4))
        assert errors.argmin() == number
        assert errors[number] < 0.03  # silhouettes of 16 pixels


def test_distances_are_those_of_the_features_and_grow_with_the_difference(stored, monkeypatch):
    monkeypatch.setattr(view_features, "features_of", mean_colors)
    same = [ball(radius, list(COLORS)[number % 3]) for number, radius in enumerate(RADII)]
    other = [ball(radius, "blue") for radius in RADII]
    near, far = stored.compare(same), stored.compare(other)
    assert near["view_frechet"] < 0.05 * far["view_frechet"]
    assert near["view_kernel"] < far["view_kernel"]
    features = mean_colors(torch.cat([stored.rendered(one.surface) for one in other]))
    truth = mean_colors(stored.pictures)
    assert far == {
        "view_frechet": pytest.approx(frechet_distance(features, truth)),
        "view_kernel": pytest.approx(kernel_distance(features, truth)),
    }


def test_empty_meshes_have_no_views(stored, monkeypatch):
    monkeypatch.setattr(view_features, "features_of", mean_colors)
    corners = np.zeros((0, 3), np.float32)
    nothing = MeshOutput(ColoredMesh(corners, np.zeros((0, 3), np.int64), normals=corners, colors=corners))
    assert stored.compare([nothing, ball(0.5, "red")]) == {}


def test_a_picture_is_not_seen_from_several_sides():
    with pytest.raises(UserError, match=r"prompts\.views=2: a picture is not seen from several sides"):
        ImageDomain().stored_views(None, 2)
