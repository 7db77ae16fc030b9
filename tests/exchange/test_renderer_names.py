"""Shap-E's decoder and field against diffusers' renderer, with random weights."""

import pytest
import torch
from diffusers.pipelines.shap_e.camera import create_pan_cameras
from diffusers.pipelines.shap_e.renderer import ShapERenderer
from torch import Tensor

from fieldforge.autoencoder.weight_rows import WeightRows
from fieldforge.exchange.renderer_names import DIFFUSERS, OPENAI, OPENAI_DECODER, from_layout, to_layout
from fieldforge.fields.radiance import radiance_query
from fieldforge.fields.shap_e_field import ShapEField
from fieldforge.fields.z_up import to_y_up
from fieldforge.geometry.camera import Rays
from fieldforge.rendering.volume import (
    importance_distances,
    integration_weights,
    interval_edges,
    interval_lengths,
    render_levels,
    stratified_distances,
)

HIDDEN, CHANNELS = 8, 12
SHAPES = ((HIDDEN, 93), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN))


class Pair:
    """The same random weights in both houses, in float64: at degree 14 a float32 has lost three digits."""

    def __init__(self, sees_direction: bool = False):
        torch.manual_seed(0)
        self.theirs = ShapERenderer(param_shapes=SHAPES, d_latent=CHANNELS, d_hidden=HIDDEN).double()
        for parameter in self.theirs.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        field = ShapEField(hidden=HIDDEN, sees_direction=sees_direction)
        rows = WeightRows(4 * HIDDEN, CHANNELS, field.param_shapes)
        self.ours = torch.nn.ModuleDict({"field": field, "decoder": rows}).double()
        self.ours.load_state_dict(from_layout(self.theirs.state_dict(), DIFFUSERS))
        self.latents = torch.randn(1, 4 * HIDDEN, CHANNELS, dtype=torch.float64).tanh()
        self.params = rows(self.latents)
        self.field = field

    def their_network(self):
        """Their perceptron with the latents' matrices in place."""
        made = self.theirs.params_proj(self.latents)
        state = self.theirs.mlp.state_dict()
        for name, value in made.items():
            state[name.removeprefix("nerstf.")].copy_(value[0])
        return self.theirs.mlp


@pytest.fixture(scope="module")
def points() -> Tensor:
    """In their frame, z up."""
    return 2 * torch.rand(1, 200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 1


def test_generated_matrices_are_theirs():
    pair = Pair()
    for number, value in enumerate(pair.theirs.params_proj(pair.latents).values()):
        torch.testing.assert_close(pair.params[f"weight_{number}"], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sees_direction", [False, True])
def test_radiance_of_both_levels_is_theirs(points, sees_direction):
    pair = Pair(sees_direction)
    directions = torch.nn.functional.normalize(points.flip(1), dim=-1)
    levels = pair.field.radiance(to_y_up(points), to_y_up(directions), pair.params)
    for name in ("coarse", "fine"):
        seen = directions if sees_direction else None
        truth = pair.their_network()(position=points, direction=seen, ts=None, nerf_level=name)
        radiance = getattr(levels, name)
        assert truth.density.count_nonzero(), "a density that is zero everywhere compares nothing"
        torch.testing.assert_close(radiance.density.double(), truth.density[..., 0], rtol=0, atol=1e-5)
        torch.testing.assert_close(radiance.rgb.double(), truth.channels, rtol=0, atol=1e-5)


def test_distance_and_colour_of_the_mesh_are_theirs(points):
    pair = Pair()
    values = pair.field.query(to_y_up(points), pair.params)
    truth = pair.their_network()(position=points, direction=None, ts=None, nerf_level="fine", rendering_mode="stf")
    torch.testing.assert_close(values["sdf"].double(), -truth.signed_distance[..., 0], rtol=0, atol=1e-5)
    torch.testing.assert_close(values["rgb"].double(), truth.channels, rtol=0, atol=1e-5)
    torch.testing.assert_close(values["density"].double(), truth.density[..., 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", [OPENAI, OPENAI_DECODER, DIFFUSERS])
def test_weights_come_back_bit_equal(layout):
    ours = Pair().ours.state_dict()
    again = from_layout(to_layout(ours, layout), layout)
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], value) for name, value in ours.items())


def test_names_and_shapes_of_full_size_are_those_of_the_released_files():
    """Counts of ../weights: diffusers' renderer has 33 tensors, two of them tables of marching cubes."""
    with torch.device("meta"):
        field = ShapEField()
        ours = torch.nn.ModuleDict({"field": field, "decoder": WeightRows(1024, 1024, field.param_shapes)}).state_dict()
        released = ShapERenderer().state_dict()
    theirs = to_layout(ours, DIFFUSERS)
    tables = {"mesh_decoder.cases", "mesh_decoder.masks"}
    assert {name: value.shape for name, value in theirs.items()} == {
        name: value.shape for name, value in released.items() if name not in tables
    }
    assert sum(value.numel() for value in released.values()) == 226_302_409


class Given:
    """A sampler of theirs that returns distances of ours."""

    def __init__(self, distances: Tensor):
        self.distances = distances

    def sample(self, t0: Tensor, t1: Tensor, n_samples: int) -> Tensor:
        return self.distances[..., None]


def test_volume_rendering_of_both_levels_is_theirs_at_the_same_samples():
    pair = Pair()
    camera = create_pan_cameras(6)
    rays = camera.camera_rays[:, ::7].double()  # (1, R, 2, 3) of 20 views, z up
    origins, directions = to_y_up(rays[..., 0, :]), to_y_up(rays[..., 1, :])
    fine, coarse = render_levels(radiance_query(pair.field, pair.params), origins, directions, 16, 32, None)

    near, far = Rays(origins, directions).box_interval()
    first = stratified_distances(near, far, 16, None)
    pair.their_network()
    their_coarse, _, raw = pair.theirs.render_rays(rays, Given(first.double()), 16)
    density = pair.field.radiance(*along(origins, directions, first), pair.params).coarse.density
    weights = integration_weights(density.view_as(first), interval_lengths(first, near, far))
    second = importance_distances(interval_edges(first, near, far), weights, 32, None)
    their_fine, _, _ = pair.theirs.render_rays(rays, Given(second.double()), 32, prev_model_out=raw)

    assert fine.opacity.max() > 0.1, "nothing is seen, nothing is compared"
    for ours, theirs in ((coarse, their_coarse), (fine, their_fine)):
        over_white = ours.rgb + ours.transmittance[..., None]  # their background
        torch.testing.assert_close(over_white.double(), theirs, rtol=0, atol=1e-5)


def along(origins: Tensor, directions: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
    points = origins[..., None, :] + directions[..., None, :] * distances[..., None]
    return points.clamp(-1, 1).flatten(1, 2), directions[..., None, :].expand_as(points).flatten(1, 2)
