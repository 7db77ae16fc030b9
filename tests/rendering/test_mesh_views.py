import math

import pytest
import torch
from torch import Tensor

from fieldforge.geometry.camera import Camera, fibonacci_poses, look_at
from fieldforge.geometry.marching_tetrahedra import marching_tetrahedra
from fieldforge.rendering.mesh_views import Light, MeshViews, render_mesh

FOV = math.radians(40)
DISTANCE = 3.0
QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]])


def ball(radius: float | Tensor, size: int = 33) -> tuple[Tensor, Tensor]:
    axis = torch.linspace(-1, 1, size)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    surface = marching_tetrahedra(points.norm(dim=-1) - radius)
    return surface.vertices, surface.faces


def front(size: int = 32, width: int | None = None) -> Camera:
    """One camera at z = DISTANCE that looks at the origin."""
    return Camera(look_at(torch.tensor([[0.0, 0.0, DISTANCE]])), FOV, size, width or size)


def wall(left: float | Tensor, right: float | Tensor, z: float = 0.0, half: float = 9.0) -> Tensor:
    """Vertices (4, 3) of an upright quad."""
    corners = [(left, -half), (right, -half), (right, half), (left, half)]
    return torch.stack([torch.stack([torch.as_tensor(x), torch.tensor(y), torch.tensor(z)]) for x, y in corners])


def pixel_width(camera: Camera, z: float = 0.0) -> float:
    return 2 * math.tan(FOV / 2) * (DISTANCE - z) / camera.height


def test_a_balls_coverage_and_its_growth_are_those_of_its_outline():
    camera = Camera(fibonacci_poses(4, DISTANCE), FOV, 64, 64)

    def coverage(radius: float) -> float:  # a disc of the radius tan(asin(r / d)) before the camera
        return math.pi * math.tan(math.asin(radius / DISTANCE)) ** 2 / (2 * math.tan(FOV / 2)) ** 2

    for radius in (0.35, 0.6):
        leaf = torch.tensor(radius, requires_grad=True)
        views = render_mesh(*ball(leaf), camera)
        assert views.mask.mean().item() == pytest.approx(coverage(radius), rel=0.02)
        (slope,) = torch.autograd.grad(views.mask.mean(), leaf)
        assert slope == pytest.approx((coverage(radius + 1e-4) - coverage(radius - 1e-4)) / 2e-4, rel=0.025)


def test_the_pixels_of_a_ball_are_those_that_many_rays_see():
    camera = Camera(fibonacci_poses(3, DISTANCE), FOV, 48, 40)
    views = render_mesh(*ball(0.6, 65), camera)
    rays = Camera(camera.camera_to_world, FOV, 8 * 48, 8 * 40).rays()
    along = -(rays.origins * rays.directions).sum(dim=-1)
    miss = rays.origins.square().sum(dim=-1) - along**2  # squared distance of the ray from the middle
    truth = torch.nn.functional.avg_pool2d((miss < 0.36).float(), 8)  # (3, 48, 40)
    border = (truth > 0) & (truth < 1)
    assert (views.mask - truth).abs()[~border].max() < 0.02
    assert (views.mask - truth).abs()[border].mean() < 0.04
    assert ((views.depth > 0).float() - truth).abs()[border].mean() > 0.2, "without blending"
    center = along - (0.36 - miss).clamp_min(0).sqrt()
    depth = center.view(3, 48, 8, 40, 8)[:, :, 3:5, :, 3:5].mean(dim=(2, 4))
    assert (views.depth - depth).abs()[truth == 1].mean() < 2e-3
    middle = camera.rays()
    place = middle.origins + middle.directions * views.depth.unsqueeze(-1)
    assert ((views.normal * place).sum(dim=-1) / 0.6)[truth == 1].min() > 0.98


@pytest.mark.parametrize("edge", [0.013, 0.031, 0.047, -0.4])
def test_a_straight_edge_covers_exactly_its_share_of_pixels(edge):
    camera, leaf = front(16), torch.tensor(edge, requires_grad=True)
    covered = render_mesh(wall(-9.0, leaf), QUAD, camera).mask.mean(dim=(0, 1)).sum()  # columns of pixels
    assert covered.item() == pytest.approx(8 + edge / pixel_width(camera), abs=1e-3)
    (slope,) = torch.autograd.grad(covered, leaf)
    assert slope == pytest.approx(1 / pixel_width(camera), rel=1e-3)


def test_small_triangles_pass_on_the_gradient_of_their_outline():
    """A prism whose sides are slivers: the edge of its outline is of a triangle that no pixel's centre sees."""
    camera = front(16)
    radius = torch.tensor(0.5, requires_grad=True)
    angles = torch.linspace(0, 2 * math.pi, 1200)[:-1]
    ring = torch.stack([radius * angles.sin(), torch.zeros_like(angles), radius * angles.cos()], dim=-1)
    low, high = ring - torch.tensor([0.0, 5, 0]), ring + torch.tensor([0.0, 5, 0])
    count = len(ring)
    here, there = torch.arange(count), torch.arange(count).roll(-1)
    faces = torch.cat(
        [torch.stack([here, there, there + count], -1), torch.stack([here, there + count, here + count], -1)]
    )
    covered = render_mesh(torch.cat([low, high]), faces, camera).mask.mean(dim=(0, 1)).sum()
    (slope,) = torch.autograd.grad(covered, radius)

    def width(r: float) -> float:
        return 2 * math.tan(math.asin(r / DISTANCE)) * DISTANCE / pixel_width(camera)

    assert covered.item() == pytest.approx(width(0.5), rel=1e-3)
    assert slope == pytest.approx((width(0.501) - width(0.499)) / 0.002, rel=0.01)


def test_an_edge_before_another_surface_blends_the_two_and_moves_them():
    camera, leaf = front(16), torch.tensor(0.3, requires_grad=True)
    vertices = torch.cat([wall(-9.0, leaf, 1.0), wall(-9.0, 9.0, -1.0)])
    colors = torch.tensor([[0.9, 0.2, 0.1]] * 4 + [[0.1, 0.4, 0.8]] * 4)
    views = render_mesh(vertices, torch.cat([QUAD, QUAD + 4]), camera, colors)
    assert views.mask.min() == 1
    share = (8 + 0.3 / pixel_width(camera, 1.0)) / 16
    torch.testing.assert_close(
        views.color.mean(dim=(0, 1, 2)).detach(), colors[0] * share + colors[4] * (1 - share), atol=1e-4, rtol=0
    )
    (slope,) = torch.autograd.grad(views.color[..., 0].mean(), leaf)
    assert slope == pytest.approx(0.8 / 16 / pixel_width(camera, 1.0), rel=1e-3)


def test_what_is_hidden_gets_no_gradient():
    vertices, faces = ball(0.5, 17)
    vertices = vertices.requires_grad_()
    everything = torch.cat([vertices, wall(-9.0, 9.0, 1.0)])
    views = render_mesh(everything, torch.cat([faces, QUAD + len(vertices)]), front(), torch.rand_like(everything))
    (slope,) = torch.autograd.grad(views.color.square().sum() + views.depth.sum() + views.mask.sum(), vertices)
    assert slope.abs().max() == 0


def test_an_outline_keeps_its_gradient_from_hidden_edges_inside_of_it():
    """The outline of a void within a ball lies inside of the ball's, often between the centres of the same pixels."""
    shell, shell_faces = ball(0.6)
    void, void_faces = ball(0.56)
    void = void.requires_grad_()
    faces = torch.cat([shell_faces, void_faces.flip(1) + len(shell)])
    camera = Camera(fibonacci_poses(3, DISTANCE), FOV, 32, 32)
    views = render_mesh(torch.cat([shell, void]), faces, camera)
    (slope,) = torch.autograd.grad(views.mask.sum(), void)
    assert slope.abs().max() == 0
    torch.testing.assert_close(views.mask, render_mesh(shell, shell_faces, camera).mask)


def oblique(lift: Tensor) -> Tensor:
    """A tilted quad across the whole picture; lift (3,) shifts three of its corners along z."""
    base = torch.tensor([[-9.0, -9, -3], [9, -9, -1], [9, 9, 0.5], [-9, 9, -1.5]])
    return torch.cat([base[:1], base[1:] + lift.unsqueeze(-1) * torch.tensor([0.0, 0, 1])])


def test_depth_is_the_distance_along_the_ray_to_the_plane():
    camera = front(24, 30)
    plane = torch.tensor([[-9.0, -9, -2], [9, -9, -1], [9, 9, 0.5], [-9, 9, -0.5]])  # z = x/18 + y/12 - 3/4
    views = render_mesh(plane, QUAD, camera)
    rays = camera.rays()
    normal = torch.tensor([-1 / 18, -1 / 12, 1.0])
    truth = (-0.75 - rays.origins @ normal) / (rays.directions @ normal)
    torch.testing.assert_close(views.depth, truth, atol=1e-4, rtol=1e-4)
    facing = (views.normal @ torch.nn.functional.normalize(normal, dim=0)).abs()
    torch.testing.assert_close(facing, torch.ones_like(facing))


@pytest.mark.parametrize("what", ["color", "depth", "normal"])
def test_gradients_inside_a_surface_agree_with_finite_differences(what):
    camera, generator = front(20), torch.Generator().manual_seed(0)
    colors, step = torch.rand(4, 3, generator=generator), torch.randn(3, generator=generator)

    def value(lift: Tensor) -> Tensor:
        image: Tensor = getattr(render_mesh(oblique(lift), QUAD, camera, colors, Light()), what)
        weight = torch.rand(image.shape, generator=torch.Generator().manual_seed(1)) - 0.3
        return (image * weight).mean()

    leaf = torch.zeros(3, requires_grad=True)
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    with torch.no_grad():
        difference = (value(0.02 * step) - value(-0.02 * step)) / 0.04
    assert slope @ step == pytest.approx(difference.item(), rel=0.02)


def test_gradients_to_colors_are_their_weights_in_the_picture():
    vertices, faces = ball(0.6, 17)
    colors = torch.rand(len(vertices), 3, requires_grad=True)
    step = torch.randn(colors.shape, generator=torch.Generator().manual_seed(0))
    views = render_mesh(vertices, faces, front(), colors)
    (slope,) = torch.autograd.grad(views.color.sum(), colors)
    moved = render_mesh(vertices, faces, front(), colors.detach() + step).color.sum() - views.color.sum()
    assert (slope * step).sum() == pytest.approx(moved.item(), rel=1e-3)
    assert slope.sum(dim=0)[0] == pytest.approx(views.mask.sum().item(), rel=1e-4)


def test_the_light_falls_on_both_sides():
    light = Light(ambient=0.3, diffuse=0.7, direction=(0.0, 0.0, 1.0))
    normal = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, 0.8, 0.6]])
    torch.testing.assert_close(light.shade(torch.ones(4, 3), normal)[:, 0], torch.tensor([1.0, 1.0, 0.3, 0.72]))


def test_an_empty_mesh_gives_empty_views_with_zero_gradients():
    distances = torch.ones(9, 9, 9, requires_grad=True)
    surface = marching_tetrahedra(distances)
    camera = Camera(fibonacci_poses(2, DISTANCE), FOV, 8, 8)
    views: MeshViews = render_mesh(surface.vertices, surface.faces, camera, light=Light())
    assert views.mask.shape == (2, 8, 8)
    (slope,) = torch.autograd.grad(views.color.sum() + views.mask.sum() + views.depth.sum(), distances)
    assert slope.abs().max() == 0


def test_lower_precision_round_it_changes_nothing():
    vertices, faces = ball(0.6, 17)
    with torch.autocast("cpu", torch.bfloat16):
        views = render_mesh(vertices, faces, front(), light=Light())
    plain = render_mesh(vertices, faces, front(), light=Light())
    assert torch.equal(views.mask, plain.mask)
    assert torch.equal(views.color, plain.color)
