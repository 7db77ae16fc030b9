"""Pinhole cameras, their rays, and the poses that pictures are taken from.

Frames as in docs/architecture.md: y up, front +z; a camera looks along its own -z with x right and y up; pixel (row 0,
column 0) is the top left one and its centre lies half a pixel inside. Axis letters: R rays, V views, H/W pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BOX = 1.0  # the field lives in [-BOX, BOX]³
UP = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Rays:
    """Rays in world space: origins (..., 3) in box units and unit directions (..., 3)."""

    origins: Tensor
    directions: Tensor

    def __post_init__(self) -> None:
        assert self.origins.shape == self.directions.shape, f"{self.origins.shape} against {self.directions.shape}"
        assert self.origins.shape[-1] == 3, f"rays are (..., 3), got {tuple(self.origins.shape)}"

    def box_interval(self) -> tuple[Tensor, Tensor]:
        """Distances near, far (...) between which each ray is inside the box [-1, 1]³.

        Behind the origin nothing counts (near ≥ 0). A ray that misses the box has near = far = 0: an integral of zero.
        """
        # A ray parallel to a face would divide by zero; 1e-9 moves it by less than rounding does.
        tiny = torch.full_like(self.directions, 1e-9).copysign(self.directions)
        slope = torch.where(self.directions.abs() < 1e-9, tiny, self.directions).reciprocal()
        first, second = (-BOX - self.origins) * slope, (BOX - self.origins) * slope
        near = torch.minimum(first, second).amax(dim=-1).clamp_min(0.0)
        far = torch.maximum(first, second).amin(dim=-1)
        hit = far > near
        return near * hit, far * hit  # (...), (...)


@dataclass(frozen=True)
class Camera:
    """One pinhole camera, or a batch of them that differ in their pose only.

    camera_to_world (..., 4, 4) in OpenGL axes, vertical opening angle fov_y in radians, picture size in square pixels.
    """

    camera_to_world: Tensor
    fov_y: float
    height: int
    width: int

    def __post_init__(self) -> None:
        assert self.camera_to_world.shape[-2:] == (4, 4), f"camera_to_world is {tuple(self.camera_to_world.shape)}"
        assert 0 < self.fov_y < math.pi, f"fov_y is in radians, got {self.fov_y}"
        assert min(self.height, self.width) > 0, f"picture of {self.height} × {self.width} pixels"

    def rays(self) -> Rays:
        """One ray through the centre of every pixel: (..., H, W, 3)."""
        device = self.camera_to_world.device
        rows, columns = torch.meshgrid(
            torch.arange(self.height, device=device), torch.arange(self.width, device=device), indexing="ij"
        )
        flat = self.rays_through(rows.flatten(), columns.flatten())  # (..., H·W, 3)
        shape = (*self.camera_to_world.shape[:-2], self.height, self.width, 3)
        return Rays(flat.origins.reshape(shape), flat.directions.reshape(shape))

    def rays_through(self, rows: Tensor, columns: Tensor) -> Rays:
        """Rays (..., R, 3) through the centres of the given pixels; rows, columns (..., R) broadcast over the poses."""
        pose = self.camera_to_world
        half = math.tan(self.fov_y / 2)
        y = half * (1 - 2 * (rows.to(pose) + 0.5) / self.height)
        x = half * (2 * (columns.to(pose) + 0.5) / self.width - 1) * (self.width / self.height)
        local = torch.stack(torch.broadcast_tensors(x, y, -torch.ones_like(x)), dim=-1)  # (..., R, 3)
        directions = local @ pose[..., :3, :3].transpose(-1, -2)  # (..., R, 3)
        directions = torch.nn.functional.normalize(directions, dim=-1)
        return Rays(pose[..., None, :3, 3].expand_as(directions), directions)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel coordinates (..., P, 2), (row, column), continuous, and distances (..., P) before the camera along -z.

        Row r and column c in whole numbers are the top left corner of pixel (r, c). The inverse of `rays_through` for
        points (..., P, 3) before the camera; behind it (distance ≤ 0) the coordinates mean nothing.
        """
        pose = self.camera_to_world
        local = (points - pose[..., None, :3, 3]) @ pose[..., :3, :3]  # (..., P, 3)
        distance = -local[..., 2]
        scale = self.height / 2 / math.tan(self.fov_y / 2) / distance
        row = self.height / 2 - local[..., 1] * scale
        column = self.width / 2 + local[..., 0] * scale
        return torch.stack([row, column], dim=-1), distance


def look_at(eyes: Tensor, target: Tensor | None = None) -> Tensor:
    """camera_to_world (..., 4, 4) of cameras at eyes (..., 3) looking at the target (3,), by default the origin, y up.

    Straight from above or below, where "up" has no direction in the picture, the front (+z) is at the bottom.
    """
    target = torch.zeros_like(eyes) if target is None else target.to(eyes).expand_as(eyes)
    back = torch.nn.functional.normalize(eyes - target, dim=-1)
    up = torch.tensor(UP).to(eyes).expand_as(eyes)
    vertical = back[..., 1:2].abs() > 1 - 1e-6
    fallback = torch.tensor([0.0, 0.0, -1.0]).to(eyes) * back[..., 1:2].sign()
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.where(vertical, fallback, up), back), dim=-1)
    columns = [right, torch.linalg.cross(back, right), back, eyes]
    upper = torch.stack(columns, dim=-1)  # (..., 3, 4)
    lower = torch.tensor([0.0, 0.0, 0.0, 1.0]).to(eyes).expand(*eyes.shape[:-1], 1, 4)
    return torch.cat([upper, lower], dim=-2)


def orbit_poses(azimuths: Tensor, elevations: Tensor, distance: float) -> Tensor:
    """Poses (..., 4, 4) that look at the origin from the distance; angles (...) in radians.

    Azimuth 0 is the front (+z), π/2 the +x side; elevation is the angle above the horizon.
    """
    azimuths, elevations = torch.broadcast_tensors(azimuths, elevations)
    level = elevations.cos()
    eyes = torch.stack([level * azimuths.sin(), elevations.sin(), level * azimuths.cos()], dim=-1)
    return look_at(distance * eyes)


def turntable_poses(views: int, distance: float, elevation: float = math.radians(25), azimuth: float = 0.0) -> Tensor:
    """Poses (V, 4, 4) evenly around the y axis, the first at the given azimuth (radians; 0 = front)."""
    return orbit_poses(azimuth + 2 * math.pi * torch.arange(views) / views, torch.tensor(elevation), distance)


def fibonacci_poses(views: int, distance: float, azimuth: float = 0.0) -> Tensor:
    """Poses (V, 4, 4) evenly over the sphere (Fibonacci lattice, González 2010), turned by an azimuth in radians."""
    index = torch.arange(views, dtype=torch.float64)
    golden = math.pi * (3 - math.sqrt(5))
    elevations = torch.asin(1 - (2 * index + 1) / views)
    return orbit_poses((azimuth + golden * index).float(), elevations.float(), distance)


def framing_distance(fov_y: float, radius: float) -> float:
    """Distance in box units from which a sphere of this radius round the origin just fills the picture's height."""
    return radius / math.sin(fov_y / 2)
