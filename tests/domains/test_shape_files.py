"""The files of a shape whose field has a radiance of its own: a turntable of it beside the mesh's."""

import numpy as np
import pytest
import torch
from PIL import Image

from fieldforge.domains.shape_outputs import Shapes
from fieldforge.fields.base import Params, Values
from fieldforge.fields.radiance import Levels, Radiance, RadianceField
from fieldforge.fields.shape_heads import SHAPE_HEADS


class Two(RadianceField):
    """A mesh: a grey ball of radius params. A radiance: a red ball of radius 0.6."""

    dimensions, heads = 3, SHAPE_HEADS
    param_shapes = {"radius": (1, 1)}

    def query(self, points: torch.Tensor, params: Params) -> Values:
        sdf = points.norm(dim=-1) - params["radius"][..., 0]
        return {"sdf": sdf, "density": (-sdf).relu(), "rgb": torch.full_like(points, 0.5)}

    def radiance(self, points: torch.Tensor, directions: torch.Tensor, params: Params) -> Levels:
        inside = (points.norm(dim=-1) < 0.6).float()
        return Levels(Radiance(50 * inside, torch.tensor([1.0, 0, 0]).expand_as(points)))


@pytest.mark.parametrize("radius", [0.5, -1.0])
def test_both_renderings_are_written_and_an_empty_mesh_has_the_radiance_alone(tmp_path, radius):
    shape = Shapes(Two(), {"radius": torch.full((1, 1, 1), radius)}, resolution=16)
    files = shape.write(tmp_path, "one")
    assert [kind for kind, name in files.items() if name] == (
        ["glb", "ply", "turntable", "radiance"] if radius > 0 else ["radiance"]
    )
    with Image.open(tmp_path / "one_radiance.gif") as animation:
        assert animation.n_frames > 1
        pixels = np.asarray(animation.convert("RGB")).astype(int)
    size = len(pixels)
    middle, corner = pixels[size // 2, size // 2], pixels[0, 0]
    assert middle[0] > 200
    assert middle[1:].max() < 60
    assert corner.min() > 200
