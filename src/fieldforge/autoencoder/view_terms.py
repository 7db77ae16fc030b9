"""How views of a mesh differ from true pictures with depths: the terms of one shape. V views of H × W pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from fieldforge.autoencoder.perceptual import PerceptualDistance
from fieldforge.geometry.camera import Camera
from fieldforge.rendering.mesh_views import MeshViews

STEP = 0.15  # box units between the depths of a pixel's neighbours, from which on they belong to two surfaces


@dataclass(frozen=True)
class TrueView:
    """rgba (V, H, W, 4) not premultiplied, depth (V, H, W) along the ray, 0 where nothing is hit; the V cameras."""

    rgba: Tensor
    depth: Tensor | None
    camera: Camera

    @property
    def premultiplied(self) -> Tensor:
        """(V, H, W, 4)"""
        return torch.cat([self.rgba[..., :3] * self.rgba[..., 3:], self.rgba[..., 3:]], dim=-1)


def picture_term(seen: MeshViews, truth: TrueView) -> Tensor:
    """L2 of premultiplied sRGB and coverage, the mean over pixels."""
    image = torch.cat([seen.color, seen.mask.unsqueeze(-1)], dim=-1)  # (V, H, W, 4)
    return (image - truth.premultiplied).square().mean()


def depth_term(seen: MeshViews, truth: TrueView) -> Tensor:
    """L1 of depths in box units, the mean over pixels that both show a surface."""
    assert truth.depth is not None
    return _mean((seen.depth - truth.depth).abs(), (seen.depth > 0) & (truth.depth > 0))


def normal_term(seen: MeshViews, truth: TrueView) -> Tensor:
    """1 - n · n̂, the mean over pixels that both show a surface, where the true normals follow from depths."""
    assert truth.depth is not None
    normals, known = normals_of_depth(truth.depth, truth.camera)
    return _mean(1 - (seen.normal * normals).sum(-1), (seen.depth > 0) & known)


def perceptual_term(seen: MeshViews, truth: TrueView) -> Tensor:
    """`PerceptualDistance` of the pictures over white."""
    true = truth.premultiplied
    pictures = [seen.color + 1 - seen.mask.unsqueeze(-1), true[..., :3] + 1 - true[..., 3:]]
    return _perceptual()(*(2 * picture.permute(0, 3, 1, 2) - 1 for picture in pictures))


def normals_of_depth(depth: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Unit normals (V, H, W, 3) of depths (V, H, W), towards the camera, and where they are known (V, H, W) bool.

    They are central differences, known where the four neighbours of a pixel lie on one surface.
    """
    rays = camera.rays()
    points = rays.origins + rays.directions * depth.unsqueeze(-1)  # (V, H, W, 3)
    across = points.roll(-1, 2) - points.roll(1, 2)
    up = points.roll(1, 1) - points.roll(-1, 1)
    normals = torch.nn.functional.normalize(torch.linalg.cross(across, up), dim=-1)
    around = torch.stack([depth.roll(step, axis) for axis in (1, 2) for step in (1, -1)])  # (4, V, H, W)
    known = (depth > 0) & (around > 0).all(0) & (around.amax(0) - around.amin(0) < STEP)
    border = torch.zeros_like(known)
    border[:, 1:-1, 1:-1] = True
    return normals, known & border


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """The mean of values where a mask is true; 0 where it nowhere is."""
    return (values * where).sum() / where.sum().clamp(min=1)


@cache
def _perceptual() -> PerceptualDistance:
    return PerceptualDistance()
