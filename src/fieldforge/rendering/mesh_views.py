"""Views of a mesh with gradients to its vertices and colours, in plain torch.

Which face a pixel shows is decided without a gradient (`raster`). Barycentric weights, and with them colour, normal and
depth, are computed again from the vertices (nvdiffrast, Laine et al. 2020, section 3.3); what changes where a
silhouette moves comes from `silhouettes`. Axis letters: V views, H/W pixels, P vertices, F faces, N pixels that show
the mesh.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fieldforge.geometry.camera import Camera
from fieldforge.rendering.raster import rasterize, screen_weights
from fieldforge.rendering.silhouettes import antialias


@dataclass(frozen=True)
class Light:
    """A distant light that falls on both sides of a surface: color · (ambient + diffuse · |n · direction|).

    The default is Shap-E's (Jun and Nichol 2023), in axes with y up.
    """

    ambient: float = 0.3
    diffuse: float = 0.7
    direction: tuple[float, float, float] = (0.0939, -0.7630, 0.6395)

    def shade(self, color: Tensor, normal: Tensor) -> Tensor:
        """Color (..., 3) of surfaces with unit normals (..., 3) in this light."""
        return color * (self.ambient + self.diffuse * (normal @ normal.new_tensor(self.direction)).abs().unsqueeze(-1))


@dataclass(frozen=True)
class MeshViews:
    """mask (V, H, W) coverage, color (V, H, W, 3) premultiplied by it; both blended along silhouettes.

    normal (V, H, W, 3), unit, and depth (V, H, W) along the ray are those at the centres of pixels; 0 without a hit.
    """

    mask: Tensor
    color: Tensor
    normal: Tensor
    depth: Tensor


def render_mesh(
    vertices: Tensor, faces: Tensor, camera: Camera, colors: Tensor | None = None, light: Light | None = None
) -> MeshViews:
    """Views of vertices (P, 3) and faces (F, 3) with colors (P, 3), by default white, under V poses (V, 4, 4).

    Computes in float32, whatever the surrounding precision. Without a light the color is unlit. Gradients reach
    vertices and colors; an empty mesh gives empty views, with zero gradients. The mesh lies before the cameras (see
    `rasterize`). Parts narrower than a pixel can fall between the centres of pixels: render more pixels.
    """
    with torch.autocast(vertices.device.type, enabled=False):
        vertices = vertices.float()
        colors = torch.ones_like(vertices) if colors is None else colors.float()
        camera = replace(camera, camera_to_world=camera.camera_to_world.to(vertices))
        face = _visible_faces(vertices.detach(), faces, camera)  # (V, H, W)
        hit = face >= 0
        pixel = hit.nonzero()  # (N, 3) view, row, column
        corners = faces[face[hit]]  # (N, 3)
        weights, distance = _weights(vertices[corners], pixel, camera)  # (N, 3), (N,)
        normal = _unit(_interpolate(smooth_normals(vertices, faces), corners, weights))
        color = _interpolate(colors, corners, weights)
        if light is not None:
            color = light.shade(color, normal)
        eye = camera.camera_to_world[pixel[:, 0], :3, 3]
        depth = (_interpolate(vertices, corners, weights) - eye).norm(dim=-1)
        opaque = torch.cat([color, torch.ones_like(color[:, :1])], dim=-1)  # (N, 4)
        image = antialias(
            _picture(opaque, hit), face, _picture(distance.detach(), hit), vertices, faces, camera
        )  # (V, H, W, 4)
        # Keeps an empty mesh in the graph: its gradients are zero, not missing.
        image = image + 0 * (vertices.sum() + colors.sum())
        return MeshViews(image[..., 3], image[..., :3], _picture(normal, hit), _picture(depth, hit))


@torch.no_grad()
def _visible_faces(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """The face that each pixel shows (V, H, W), -1 for none."""
    # Rounding to float32 would leave seams between faces; one kind of device has no float64.
    precise = torch.float32 if vertices.device.type == "mps" else torch.float64
    vertices, poses = vertices.to(precise), camera.camera_to_world.to(precise)
    views = [rasterize(vertices, faces, replace(camera, camera_to_world=pose)).face for pose in poses]
    return torch.stack(views)


def _weights(corners: Tensor, pixel: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Perspective-correct weights (N, 3) of the corners (N, 3, 3) at pixel centres (N, 3), and distances (N,) on -z."""
    views = replace(camera, camera_to_world=camera.camera_to_world[pixel[:, 0]])
    place, distance = views.project(corners)  # (N, 3, 2), (N, 3)
    flat = screen_weights(place, pixel[:, 1:] + 0.5) / distance
    inverse = flat.sum(dim=-1, keepdim=True)
    return flat / inverse, 1 / inverse[:, 0]


def smooth_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (P, 3), with gradients: the mean over the faces (F, 3) round a vertex, weighted by area."""
    a, b, c = vertices[faces].unbind(dim=1)
    normal = torch.linalg.cross(b - a, c - a)  # (F, 3)
    return _unit(torch.zeros_like(vertices).index_add(0, faces.flatten(), normal.repeat_interleave(3, dim=0)))


def _unit(vectors: Tensor) -> Tensor:
    """Vectors (N, 3) of unit length; gradients of ones far shorter than the mean stay bounded."""
    squares = vectors.square().sum(dim=-1, keepdim=True)
    return vectors / (squares + 1e-6 * squares.detach().mean() + 1e-30).sqrt()


def _interpolate(attribute: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    return (attribute[corners] * weights.unsqueeze(-1)).sum(dim=-2)  # (N, K)


def _picture(values: Tensor, hit: Tensor) -> Tensor:
    """Values (N, ...) of the pixels that are hit (V, H, W), 0 elsewhere."""
    flat = values.new_zeros(hit.numel(), *values.shape[1:])
    return flat.index_put((hit.flatten().nonzero()[:, 0],), values).view(*hit.shape, *values.shape[1:])
