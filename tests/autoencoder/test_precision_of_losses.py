"""Which terms of a loss autocast may round."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fieldforge.autoencoder.losses import AutoencoderLoss
from fieldforge.fields.lattice import TriplaneField
from fieldforge.fields.shap_e_field import ShapEField
from fieldforge.noise.randomness import StepRandomness


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    origins = normalize(drawn(1, 64, 3) - 0.5, dim=-1) * 2
    return {
        "input": drawn(1, 32, 9),
        "near_points": drawn(1, 64, 3),
        "near_sdf": drawn(1, 64) - 0.5,
        "volume_points": drawn(1, 64, 3),
        "volume_sdf": drawn(1, 64) - 0.5,
        "ray_origins": origins,
        "ray_directions": -normalize(origins + 0.2 * drawn(1, 64, 3), dim=-1),
        "ray_rgba": drawn(1, 64, 4),
    }


@pytest.mark.parametrize(
    ("field", "rounded"),
    [
        pytest.param(ShapEField(hidden=16), {"view", "opacity"}, id="a density of its own"),
        pytest.param(TriplaneField(), set(), id="a density that follows from distances"),
    ],
)
def test_autocast_rounds_a_radiance_fields_volume_rendering_alone(field, rounded):
    generator = torch.Generator().manual_seed(1)
    params = {
        name: torch.randn(1, rows, width, generator=generator) / width**0.5
        for name, (rows, width) in field.param_shapes.items()
    }
    seen = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            seen.append(AutoencoderLoss().terms(field, params, batch(), StepRandomness(0, 0, [0], 1)))
    exact, other = seen
    assert {name for name in exact if not torch.equal(exact[name], other[name])} == rounded
    for name in exact:
        torch.testing.assert_close(exact[name], other[name], rtol=0.02, atol=2e-3)
