"""The reconstructor's encoder: what views say about points, and that it takes any number of views."""

import math

import pytest
import torch
from torch import Tensor

from fieldforge.autoencoder.lifting import lattice, lifted_pixels, places_in_views, read_frustum
from fieldforge.autoencoder.planes import PlanesDecoder
from fieldforge.autoencoder.view_planes import ViewPlanesEncoder
from fieldforge.conditioning.efficientnet import efficientnet_lite0
from fieldforge.fields.lattice import TriplaneField
from fieldforge.geometry.camera import Camera, fibonacci_poses, look_at, orbit_poses

FOV, SIZE, RADIUS = 0.7, 32, 0.5
SMALL = {"cells": 4, "points": 8, "pixels": 32, "features": 2, "depths": 4, "convolution_width": 8, "width": 16}
SMALL |= {"heads": 2, "layers": 1, "view_width": 16, "view_heads": 2, "view_layers": 1, "channels": 6}


def balls(views: int, batch: int = 1) -> dict[str, Tensor]:
    """Silhouettes of a red ball from around."""
    poses = fibonacci_poses(views, 3.0)
    rays = Camera(poses, FOV, SIZE, SIZE).rays()
    closest = (rays.origins * rays.directions).sum(-1)
    hit = rays.origins.square().sum(-1) - closest.square() < RADIUS**2  # (V, H, W)
    rgba = hit[..., None] * torch.tensor([1.0, 0.0, 0.0, 1.0])
    return {
        "rgba": rgba.expand(batch, -1, -1, -1, -1),
        "cameras": poses.expand(batch, -1, -1, -1),
        "fov": torch.full((batch, views), FOV),
        "mask": torch.ones(batch, views),
    }


def encoder(**settings: object) -> ViewPlanesEncoder:
    torch.manual_seed(0)
    return ViewPlanesEncoder(**{**SMALL, **settings}).eval()


def test_points_are_read_at_the_pixels_that_show_them():
    poses = orbit_poses(torch.tensor([0.3, 2.0]), torch.tensor([0.2, -0.4]), 3.0)
    points = lattice(4, torch.device("cpu"))
    places = places_in_views(points, poses, torch.full((2,), FOV), torch.ones(2))
    pixels, distance = Camera(poses, FOV, SIZE, SIZE).project(points)
    torch.testing.assert_close(places.plane, 2 * pixels.flip(-1) / SIZE - 1, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(places.depth, (distance - 3.0) / math.sqrt(3))
    inside = ((pixels >= 0) & (pixels <= SIZE)).all(-1)
    assert 0.8 < inside.float().mean() < 1
    torch.testing.assert_close(places.present, inside.float())


def test_a_point_outside_of_a_picture_or_behind_its_camera_is_not_seen():
    pose = look_at(torch.tensor([[0.0, 0.0, 0.5]]))  # in the box
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.9], [0.9, 0.0, 0.0]])
    for mask, expected in ((1.0, [1.0, 0.0, 0.0]), (0.0, [0.0, 0.0, 0.0])):
        places = places_in_views(points, pose, torch.tensor([FOV]), torch.tensor([mask]))
        assert places.present[0].tolist() == expected


def test_depths_of_a_frustum_lie_along_the_axis_of_the_view():
    poses = orbit_poses(torch.tensor([1.1]), torch.tensor([0.5]), 3.0)
    points = lattice(8, torch.device("cpu"))
    places = places_in_views(points, poses, torch.tensor([FOV]), torch.ones(1))
    ramp = torch.linspace(-1 + 1 / 16, 1 - 1 / 16, 16).view(1, 1, 16, 1, 1).expand(1, 1, 16, 2, 2)
    torch.testing.assert_close(read_frustum(ramp, places)[0, 0], places.depth[0], atol=1e-5, rtol=0)


def test_silhouettes_enclose_the_ball_and_carry_its_colour():
    given, points = balls(12), lattice(16, torch.device("cpu"))
    places = places_in_views(points, given["cameras"][0], given["fov"][0], given["mask"][0])
    rgba = given["rgba"][0].permute(0, 3, 1, 2)
    seen = lifted_pixels(rgba, rgba[:, 3:], places, 12)[0]  # (SEEN + 1, P)
    distance = points.norm(dim=-1)
    assert seen[0, distance < 0.8 * RADIUS].min() > 0.9
    assert seen[0, distance > 1.4 * RADIUS].max() < 0.1
    torch.testing.assert_close(seen[1:4, distance < 0.3].mean(1), torch.tensor([1.0, 0.0, 0.0]))
    assert seen[-1, distance < 0.3].min() > 0.9


@pytest.mark.parametrize("views", [1, 6])
def test_colours_reach_the_surface_before_anything_is_learned(views: int):
    """All channels of a colour, and not its brightness alone; the rest of a fresh network shifts all by the same."""
    torch.manual_seed(0)
    field = TriplaneField()
    encoder, decoder = ViewPlanesEncoder().eval(), PlanesDecoder(768, 16, field.param_shapes)
    surface = RADIUS * torch.nn.functional.normalize(torch.randn(1, 200, 3))
    found, given = [], balls(views)
    for color in ((0.9, 0.1, 0.1), (0.1, 0.1, 0.9)):
        rgba = given["rgba"][..., 3:] * torch.tensor([*color, 1.0])
        with torch.no_grad():
            params = decoder(encoder(**{**given, "rgba": rgba}).tanh())
            found.append(field.query(surface, params)["rgb"].logit().mean((0, 1)))
    red, green, blue = (found[0] - found[1]).tolist()
    assert red > 2
    assert abs(green) < 1
    assert blue < -2


def test_any_number_of_views_in_any_order_and_empty_places_change_nothing():
    model = encoder()
    for views in (1, 3, 9):
        given = balls(views)
        latents = model(*given.values())
        assert latents.shape == (1, *model.latent_shape[:2])
        back = {name: value.flip(1) for name, value in given.items()}
        torch.testing.assert_close(model(*back.values()), latents, atol=1e-5, rtol=1e-4)
        padded = {name: torch.cat([value, value[:, :1]], 1) for name, value in given.items()}
        padded["mask"][:, -1] = 0
        torch.testing.assert_close(model(*padded.values()), latents, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(*balls(1).values()), latents, atol=1e-3)


def test_pictures_of_any_size_are_read():
    given = balls(2)
    large = given["rgba"].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(
        encoder()(*{**given, "rgba": large}.values()), encoder()(*given.values()), atol=0.2, rtol=0
    )


def test_cameras_get_noise_in_training_alone():
    model, given = encoder().train(), balls(2)
    with pytest.raises(ValueError, match="needs randomness"):
        model(*given.values())
    clean = model.eval().camera_numbers(given["cameras"], given["fov"], None)
    noisy = model.train().camera_numbers(given["cameras"], given["fov"], torch.Generator().manual_seed(0))
    assert 0.01 < (noisy - clean).std() < 0.03


def test_tokens_of_a_frozen_encoder_are_read_and_the_encoder_stays_out_of_the_weights():
    model = encoder(frozen=efficientnet_lite0())
    assert not [name for name in model.state_dict() if "network" in name]
    model(*balls(1).values()).square().sum().backward()
    assert model.views.embed_frozen.weight.grad.abs().sum() > 0
