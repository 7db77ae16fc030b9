"""Shapes of other programs take part with their form and colours."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from fieldforge.domains.shape import ShapeDomain
from fieldforge.errors import UserError


def test_a_textured_box_has_one_piece_and_the_colours_of_its_texture(tmp_path):
    box = trimesh.creation.box((2.0, 1.0, 1.0))
    left_red = Image.fromarray(
        np.where(np.arange(64)[None, :, None] < 32, [255, 0, 0], [0, 0, 255]).astype(np.uint8).repeat(64, 0)
    )
    uv = 0.9 * box.vertices[:, [0, 1]] / (2, 1) + 0.5  # along x and y
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=left_red)
    box.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    box.export(tmp_path / "box.glb")
    domain = ShapeDomain(cloud_points=2000)
    output = domain.read_output(tmp_path / "box.glb")
    assert domain.describe(output) == {"pieces": 1.0}
    surface = output.surface
    assert np.abs(surface.vertices).max(axis=0) == pytest.approx([0.9, 0.45, 0.45], abs=1e-5)
    left = surface.vertices[:, 0] < -0.05
    right = surface.vertices[:, 0] > 0.05
    np.testing.assert_allclose(surface.colors[left], [[1, 0, 0]] * left.sum(), atol=0.01)
    np.testing.assert_allclose(surface.colors[right], [[0, 0, 1]] * right.sum(), atol=0.01)
    [cloud] = domain.signatures(output)
    assert cloud.shape == (2000, 3)
    assert np.abs(cloud).max(axis=0) == pytest.approx([0.9, 0.45, 0.45], abs=1e-3)
    picture = np.asarray(output.picture(32))
    assert (picture[..., 3] > 200).mean() > 0.1
    assert output.write(tmp_path, "again") == {"glb": "again.glb"}


def test_a_file_that_holds_no_mesh_is_one_sentence(tmp_path):
    (tmp_path / "a.glb").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a\.glb: "):
        ShapeDomain().read_output(tmp_path / "a.glb")
