"""Shaded pictures of coloured meshes: soft light fixed to the camera, and a shadow on the ground.

Shading is computed in linear colour space. Axis letters: H/W pixels of the picture.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from fieldforge.geometry.camera import Camera, framing_distance, look_at, orbit_poses
from fieldforge.geometry.color import linear_to_srgb, srgb_to_linear
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.rendering.raster import rasterize

KEY_LIGHT = (-0.45, 0.75, 0.55)  # in the camera's axes: from above left
FILL_LIGHT = (0.8, 0.1, 0.5)
FIELD_OF_VIEW = math.radians(30)
MAP_SIZE = 96  # pixels across the shadow's map


@dataclass(frozen=True)
class Stand:
    """Camera placement for a shape's portrait; angles in radians (azimuth 0 is the front, π/2 the +x side)."""

    azimuth: float = math.radians(32)
    elevation: float = math.radians(22)

    def camera(self, mesh: ColoredMesh, size: int) -> Camera:
        """A camera whose picture (size × size) just holds the mesh, whichever way it is turned about its middle."""
        middle, radius = np.zeros(3), 1.0
        if not mesh.is_empty:
            low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
            middle = (low + high) / 2
            radius = max(float(np.linalg.norm(mesh.vertices - middle, axis=1).max()), 1e-3)
        distance = framing_distance(FIELD_OF_VIEW, 1.08 * radius)
        pose = orbit_poses(torch.tensor(self.azimuth), torch.tensor(self.elevation), distance).double()
        pose[:3, 3] += torch.from_numpy(middle)
        return Camera(pose, FIELD_OF_VIEW, size, size)


@dataclass(frozen=True)
class GroundShadow:
    """The shadow of a mesh on the plane that it stands on, which no camera changes.

    opacity (MAP_SIZE, MAP_SIZE): what `underside`, a camera far below, sees of it; height: of the plane.
    """

    opacity: NDArray[np.float32]
    underside: Camera
    height: float

    @staticmethod
    def of(mesh: ColoredMesh) -> "GroundShadow | None":
        """Darkest where the mesh touches the plane; None for an empty mesh."""
        if mesh.is_empty:
            return None
        vertices, faces = torch.from_numpy(mesh.vertices).double(), torch.from_numpy(mesh.faces)
        low, high = vertices.amin(dim=0), vertices.amax(dim=0)
        foot = torch.stack([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
        reach = 0.8 * float((high - low)[[0, 2]].max()) + 1e-6
        # A map of the underside, from so far below that perspective is negligible.
        below = 100.0 * reach
        eye = foot - torch.tensor([0.0, below, 0.0], dtype=foot.dtype)
        underside = Camera(look_at(eye, foot), 2 * math.atan(reach / below), MAP_SIZE, MAP_SIZE)
        fragments = rasterize(vertices, faces, underside)
        clearance = fragments.interpolate((vertices[:, 1:2] - low[1]).float())[..., 0].numpy() / reach
        hit = fragments.hit.numpy()
        contact = gaussian_filter(hit * np.exp(-clearance / 0.03), 0.012 * MAP_SIZE)
        around = gaussian_filter(hit * np.exp(-clearance / 0.5), 0.06 * MAP_SIZE)
        return GroundShadow(0.35 * contact + 0.4 * around, underside, float(foot[1]))

    def seen_by(self, camera: Camera) -> NDArray[np.float32]:
        """Opacity (H, W) at a camera's pixels."""
        rays = camera.rays()  # (H, W, 3)
        down = rays.directions[..., 1:2].clamp_max(-1e-6)
        ground = rays.origins + rays.directions * ((self.height - rays.origins[..., 1:2]) / down)
        places, _ = self.underside.project(ground.reshape(-1, 3))
        opacity = map_coordinates(self.opacity, (places.T - 0.5).numpy(), order=1, mode="constant")
        looks_down = (rays.directions[..., 1] < -1e-6) & (rays.origins[..., 1] > self.height)
        return (opacity.reshape(camera.height, camera.width) * looks_down.numpy()).astype(np.float32)


def portrait(mesh: ColoredMesh, size: int, stand: Stand | None = None) -> Image.Image:
    """Picture of the mesh, RGBA (straight alpha) of size × size pixels; the ground shadow is black of little alpha.

    Supersampled at twice the size. An empty mesh gives an empty picture.
    """
    return next(portraits(mesh, size, [stand or Stand()]))


def portraits(mesh: ColoredMesh, size: int, stands: Iterable[Stand]) -> Iterator[Image.Image]:
    """A `portrait` from each of several stands."""
    shadow = GroundShadow.of(mesh)
    for stand in stands:
        yield _portrait(mesh, size, stand, shadow)


def _portrait(mesh: ColoredMesh, size: int, stand: Stand, shadow: GroundShadow | None) -> Image.Image:
    camera = stand.camera(mesh, 2 * size)
    light = torch.from_numpy(_premultiplied(mesh, camera, shadow)).permute(2, 0, 1)  # (4, 2·size, 2·size)
    small = torch.nn.functional.avg_pool2d(light, 2).permute(1, 2, 0).numpy()
    alpha = small[..., 3:]
    color = linear_to_srgb(small[..., :3] / np.maximum(alpha, 1e-6))
    return Image.fromarray(np.round(np.concatenate([color, alpha], axis=-1) * 255).astype(np.uint8), "RGBA")


def _premultiplied(mesh: ColoredMesh, camera: Camera, shadow: GroundShadow | None) -> NDArray[np.float32]:
    """Linear light premultiplied by alpha, and alpha: (H, W, 4)."""
    picture = np.zeros((camera.height, camera.width, 4), np.float32)
    if shadow is None:
        return picture
    vertices, faces = torch.from_numpy(mesh.vertices).double(), torch.from_numpy(mesh.faces)
    fragments = rasterize(vertices, faces, camera)
    hit = fragments.hit.numpy()
    picture[..., 3] = shadow.seen_by(camera)
    albedo = srgb_to_linear(mesh.color_at(fragments.face.numpy()[hit], fragments.weights.numpy()[hit]))
    normals = torch.nn.functional.normalize(
        fragments.interpolate(torch.from_numpy(mesh.normals))[fragments.hit], dim=-1
    )
    toward_camera = -camera.rays().directions[fragments.hit].float()
    normals = normals * torch.where((normals * toward_camera).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    picture[hit, :3] = albedo * _light(normals, camera).numpy()[:, None]
    picture[hit, 3] = 1.0
    return picture


def _light(normals: Tensor, camera: Camera) -> Tensor:
    """Light (N,) that falls on surfaces of these normals (N, 3): sky and ground, a key light, a weak fill light."""
    to_world = camera.camera_to_world[:3, :3].float()
    key, fill = (
        to_world @ torch.nn.functional.normalize(torch.tensor(light), dim=0) for light in (KEY_LIGHT, FILL_LIGHT)
    )
    sky = 0.5 + 0.5 * normals[:, 1]
    return 0.26 + 0.32 * sky + 0.6 * (normals @ key).clamp_min(0) + 0.12 * (normals @ fill).clamp_min(0)
