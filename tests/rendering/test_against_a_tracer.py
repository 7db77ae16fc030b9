"""Views of meshes against Mitsuba (Jakob et al. 2022), which traces the rays that the rasteriser projects."""

import mitsuba
import numpy as np
import pytest
import torch
from benchmarks.silhouette_fit import DISTANCE, FOV, outside
from torch import Tensor

from fieldforge.geometry.camera import Camera, fibonacci_poses
from fieldforge.geometry.marching_tetrahedra import marching_tetrahedra
from fieldforge.rendering.mesh_views import MeshViews, render_mesh, smooth_normals

SIZE = 64
FINER = 8  # rays along a side of a pixel


class Tracer:
    """Mitsuba's scene of a mesh with normals and colours at its vertices."""

    def __init__(self, vertices: Tensor, faces: Tensor, colors: Tensor):
        mitsuba.set_variant("scalar_rgb")
        self.mesh = mitsuba.Mesh("mesh", len(vertices), len(faces), has_vertex_normals=True)
        parameters = mitsuba.traverse(self.mesh)
        parameters["vertex_positions"] = vertices.flatten().numpy()
        parameters["faces"] = faces.flatten().numpy().astype(np.uint32)
        parameters["vertex_normals"] = smooth_normals(vertices, faces).flatten().numpy()
        parameters.update()
        self.mesh.add_attribute("vertex_color", 3, colors.flatten().numpy())
        self.scene = mitsuba.load_dict({"type": "scene", "mesh": self.mesh})

    def first_hits(self, camera: Camera) -> list:
        """What the ray of each pixel meets first, row by row; one pose (4, 4)."""
        rays = camera.rays()
        pairs = zip(rays.origins.view(-1, 3).tolist(), rays.directions.view(-1, 3).tolist(), strict=True)
        return [self.scene.ray_intersect(mitsuba.Ray3f(origin, direction)) for origin, direction in pairs]

    def coverage(self, camera: Camera) -> Tensor:
        """The share (H, W) of each pixel that the mesh covers."""
        finer = Camera(camera.camera_to_world, camera.fov_y, FINER * camera.height, FINER * camera.width)
        hits = torch.tensor([hit.is_valid() for hit in self.first_hits(finer)]).view(1, finer.height, finer.width)
        return torch.nn.functional.avg_pool2d(hits.float(), FINER)[0]


@pytest.fixture(scope="module")
def animal() -> tuple[Tensor, Tensor, Tensor]:
    """Vertices, faces and colours of a thing whose legs hide each other."""
    axis = torch.linspace(-1, 1, 49)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    surface = marching_tetrahedra(outside(points))
    vertices = surface.vertices.detach()
    return vertices, surface.faces, (vertices * 0.5 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("view", range(3))
def test_pixels_show_what_rays_meet_first(animal, view):
    camera = Camera(fibonacci_poses(3, DISTANCE)[view], FOV, SIZE, SIZE)
    views = render_mesh(*animal[:2], Camera(camera.camera_to_world[None], FOV, SIZE, SIZE), animal[2])
    tracer = Tracer(*animal)
    hits = tracer.first_hits(camera)
    hit = torch.tensor([one.is_valid() for one in hits]).view(SIZE, SIZE)
    assert 0.05 < hit.float().mean() < 0.9
    assert torch.equal(views.depth[0] > 0, hit)
    depth = torch.tensor([one.t for one in hits]).view(SIZE, SIZE)
    torch.testing.assert_close(views.depth[0][hit], depth[hit], atol=1e-4, rtol=0)
    normal = torch.tensor([list(one.sh_frame.n) for one in hits]).view(SIZE, SIZE, 3)
    assert (views.normal[0] * normal).sum(-1)[hit].min() > 0.999
    colors = [list(tracer.mesh.eval_attribute_3("vertex_color", one)) if one.is_valid() else [0.0] * 3 for one in hits]
    apart = (views.color[0] - torch.tensor(colors).view(SIZE, SIZE, 3)).abs().amax(dim=-1)
    inner = hit & ~folds(depth)  # along silhouettes colours are blended, a few of which are of no depth
    assert inner.sum() > 100
    assert (apart[inner] < 1e-3).float().mean() > 0.98


def folds(depth: Tensor) -> Tensor:
    """Pixels (H, W) beside one of much another depth; that of a miss is infinite."""
    depth = depth.nan_to_num(posinf=9.0)[None]
    far, near = (torch.nn.functional.max_pool2d(sign * depth, 3, 1, 1)[0] * sign for sign in (1, -1))
    return far - near > 0.1


def test_silhouettes_cover_the_shares_that_many_rays_do_and_grow_as_they_do(animal):
    vertices, faces, colors = animal
    camera = Camera(fibonacci_poses(1, DISTANCE), FOV, SIZE, SIZE)
    scale = torch.ones((), requires_grad=True)

    def traced(size: float) -> Tensor:
        one = Camera(camera.camera_to_world[0], FOV, SIZE, SIZE)
        return Tracer(size * vertices, faces, colors).coverage(one)

    views: MeshViews = render_mesh(scale * vertices, faces, camera)
    truth = traced(1.0)
    edges = (truth > 0) & (truth < 1)
    assert (views.mask[0] - truth).abs()[edges].mean() < 0.06
    (slope,) = torch.autograd.grad(views.mask.mean(), scale)
    expected = (traced(1.03).mean() - traced(0.97).mean()) / 0.06
    assert slope.item() == pytest.approx(expected.item(), rel=0.05)
