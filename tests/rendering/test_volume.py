import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fieldforge.fields.radiance import Levels, Radiance
from fieldforge.geometry.camera import Camera, look_at
from fieldforge.rendering.volume import importance_distances, render_levels, render_rays, render_views


def alike(density: Tensor, rgb: Tensor) -> Levels:
    return Levels(Radiance(density, rgb))


def ball(radius: float, density: float, color=(1.0, 0.5, 0.25)):
    def query(points: Tensor, directions: Tensor) -> Levels:
        inside = points.norm(dim=-1) < radius
        return alike(density * inside.float(), torch.tensor(color).expand_as(points))

    return query


def fog(density: float):
    return lambda points, directions: alike(torch.full(points.shape[:-1], density), torch.ones_like(points))


def rays_down_z(x: list[float]) -> tuple[Tensor, Tensor]:
    origins = torch.tensor([[[offset, 0.0, 3.0] for offset in x]])
    return origins, torch.tensor([0.0, 0.0, -1.0]).expand_as(origins)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("n_fine", [0, 8])
def test_fog_filling_the_box_is_integrated_exactly(seed, n_fine):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    seen = render_rays(fog(0.7), *rays_down_z([0.0, 0.5]), 8, n_fine, generator)
    np.testing.assert_allclose(seen.opacity, 1 - math.exp(-0.7 * 2), rtol=1e-5)
    np.testing.assert_allclose(seen.transmittance, math.exp(-0.7 * 2), rtol=1e-5)
    np.testing.assert_allclose(seen.rgb[..., 0], seen.opacity, rtol=1e-5)


def test_mean_depth_in_fog_is_that_of_a_truncated_exponential():
    seen = render_rays(fog(1.5), *rays_down_z([0.0]), 512, 0, None)
    stopped = 1 - math.exp(-3.0)
    expected = 2.0 + (1 / 1.5) - 2.0 * math.exp(-3.0) / stopped  # entered at 2.0, 2.0 box units long
    np.testing.assert_allclose(seen.depth, expected, rtol=1e-4)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_ball_stops_the_light_of_its_chord(seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    offsets = [0.0, 0.3, 0.59, 0.7]
    seen = render_rays(ball(0.6, 2.0), *rays_down_z(offsets), 256, 256, generator)
    chords = [2 * math.sqrt(max(0.36 - x * x, 0)) for x in offsets]
    np.testing.assert_allclose(seen.opacity[0], [1 - math.exp(-2.0 * chord) for chord in chords], atol=6e-3)
    np.testing.assert_allclose(seen.rgb[0, :, 1], 0.5 * seen.opacity[0], atol=1e-5)
    assert seen.depth[0, 3] == 0
    assert seen.opacity[0, 3] == 0


def test_the_slab_in_front_covers_the_one_behind():
    def query(points: Tensor, directions: Tensor) -> Levels:
        front, back = (points[..., 2] > 0.5).float(), (points[..., 2] < -0.5).float()
        red, blue = torch.tensor([1.0, 0, 0]), torch.tensor([0, 0, 1.0])
        return alike(3.0 * front + 5.0 * back, front[..., None] * red + back[..., None] * blue)

    seen = render_rays(query, *rays_down_z([0.0]), 64, 0, None)  # the slabs' faces are edges of stretches
    passed = math.exp(-3.0 * 0.5)
    np.testing.assert_allclose(seen.rgb[0, 0], [1 - passed, 0, passed * (1 - math.exp(-5.0 * 0.5))], atol=1e-5)


def test_importance_samples_go_where_the_light_stops():
    """A thin shell that 16 even samples blur is resolved by 16 more in the right place."""
    thin = ball(0.5, 400.0)
    truth = 3.0 - math.sqrt(0.25 - 0.01)
    even = render_rays(thin, *rays_down_z([0.1]), 32, 0, None)
    placed = render_rays(thin, *rays_down_z([0.1]), 16, 16, None)
    assert abs(placed.depth - truth) < 0.2 * abs(even.depth - truth)


def test_the_coarse_level_is_its_own_integral_and_places_the_fine_samples():
    """Coarse: a thin shell. Fine: fog, whose samples lie where the shell is; both are exact at what they know."""
    shell, mist = ball(0.5, 400.0), fog(0.7)
    places = []

    def query(points: Tensor, directions: Tensor) -> Levels:
        places.append(points)
        return Levels(mist(points, directions).fine, shell(points, directions).fine)

    rays = rays_down_z([0.1])
    fine, coarse = render_levels(query, *rays, 16, 64, None)
    alone, nothing = render_levels(shell, *rays, 16, 0, None)
    assert nothing is None
    np.testing.assert_allclose(coarse.opacity, alone.opacity)
    np.testing.assert_allclose(coarse.depth, alone.depth)
    np.testing.assert_allclose(fine.opacity, 1 - math.exp(-0.7 * 2), rtol=1e-5)
    assert (places[1][0, :, 2].sub(math.sqrt(0.24)).abs() < 0.15).float().mean() > 0.9


def test_queries_get_the_direction_of_their_ray():
    def query(points: Tensor, directions: Tensor) -> Levels:
        return alike(torch.full(points.shape[:-1], 50.0), directions)

    origins = torch.tensor([[[0.0, 0.0, 3.0], [3.0, 0.0, 0.0]]])
    directions = torch.tensor([[[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(render_rays(query, origins, directions, 8, 8, None).rgb, directions, atol=1e-5)


def test_importance_distances_follow_the_histogram():
    edges, weights = torch.tensor([0.0, 1.0, 3.0, 4.0]), torch.tensor([0.25, 0.75, 0.0])
    distances = importance_distances(edges, weights, 4000, torch.Generator().manual_seed(0))
    counts, _ = np.histogram(distances.numpy(), bins=edges.numpy())
    np.testing.assert_allclose(counts / 4000, [0.25, 0.75, 0.003], atol=0.01)
    assert (distances.diff() >= 0).all()
    middles = distances[(distances >= 1) & (distances < 3)]
    assert middles.mean() == pytest.approx(2.0, abs=0.01), "even inside a stretch"


def test_stratified_training_samples_are_unbiased_where_the_field_is_thin():
    """The mean over draws of a nearly transparent ball's opacity is its chord × density (first order in density)."""
    generator = torch.Generator().manual_seed(0)
    origins, directions = rays_down_z([0.2] * 4000)
    seen = render_rays(ball(0.55, 1e-3), origins, directions, 8, 0, generator)
    assert seen.opacity.mean().item() == pytest.approx(2e-3 * math.sqrt(0.55**2 - 0.04), rel=0.02)


@pytest.mark.parametrize("n_fine", [0, 6])
def test_gradients_agree_with_finite_differences(n_fine):
    generator = torch.Generator().manual_seed(1)
    origins, directions = rays_down_z([0.0, 0.4])
    centers = torch.rand(5, 3, generator=generator) - 0.5

    def picture(strength: Tensor) -> Tensor:
        def query(points: Tensor, directions: Tensor) -> Levels:
            near = torch.exp(-4 * (points.unsqueeze(-2) - centers).square().sum(-1))  # (B, N, 5)
            return alike(near @ strength[0].exp(), torch.sigmoid(near @ strength[1:4].T))

        # A coarse pass whose weights moved would move the samples, which the gradient leaves out by design:
        # with the histogram's places frozen by equal seeds the places depend on strength only in second order.
        seen = render_rays(query, origins, directions, 24, n_fine, None)
        return torch.cat([seen.rgb.flatten(), seen.opacity.flatten(), seen.depth.flatten()]).double().sum()

    strength = torch.randn(4, 5, generator=generator).requires_grad_()
    (gradient,) = torch.autograd.grad(picture(strength), strength)
    step = 2e-2
    for index in [(0, 0), (0, 3), (1, 2), (3, 4)]:
        shift = torch.zeros_like(strength)
        shift[index] = step
        with torch.no_grad():
            slope = (picture(strength + shift) - picture(strength - shift)) / (2 * step)
        assert gradient[index].item() == pytest.approx(slope.item(), rel=0.03, abs=2e-3)


def test_rays_that_miss_ask_only_inside_the_box_and_give_nothing():
    queries = []

    def query(points: Tensor, directions: Tensor) -> Levels:
        queries.append(points)
        return alike(torch.full(points.shape[:-1], 9.0), torch.ones_like(points))

    seen = render_rays(query, *rays_down_z([5.0, -1.2]), 4, 4, None)
    assert all(points.abs().max() <= 1 for points in queries)
    assert (seen.rgb == 0).all()
    assert (seen.opacity == 0).all()
    assert (seen.depth == 0).all()


def test_the_same_generator_state_gives_the_same_picture_and_the_global_one_is_left_alone():
    state = torch.random.get_rng_state()
    first, second = (
        render_rays(ball(0.5, 3.0), *rays_down_z([0.1, 0.2]), 8, 8, torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first.rgb, second.rgb)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_opaque_matter_stays_finite_in_value_and_gradient():
    strength = torch.tensor(1e6, requires_grad=True)
    seen = render_rays(
        lambda p, directions: alike(strength.expand(p.shape[:-1]), torch.ones_like(p)),
        *rays_down_z([0.0]),
        16,
        16,
        None,
    )
    seen.rgb.sum().backward()
    np.testing.assert_allclose(seen.opacity.detach(), 1.0)
    assert torch.isfinite(strength.grad)


def test_views_in_chunks_equal_the_view_at_once_and_show_the_disc_of_a_ball():
    poses = look_at(torch.tensor([[0.0, 0.0, 4.0], [4.0, 0.0, 0.0]]))
    camera = Camera(poses, math.radians(40), 32, 32)
    whole = render_views(ball(0.6, 50.0), camera, 32, 16)
    parts = render_views(ball(0.6, 50.0), camera, 32, 16, points_at_once=1000)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    radius = math.tan(math.asin(0.6 / 4.0)) / math.tan(math.radians(20)) * 16  # of the disc, in pixels
    np.testing.assert_allclose(whole[..., 3].sum(dim=(1, 2)), math.pi * radius**2, rtol=0.03)
