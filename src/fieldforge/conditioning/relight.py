"""Relighting of views: shading of unlit colours, as photographs and other renderers have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fieldforge.data.shape_schema import DEPTH_UNIT
from fieldforge.geometry.camera import Camera
from fieldforge.geometry.color import linear_to_srgb, srgb_to_linear

AMBIENT = (0.3, 0.7)  # light from everywhere, as a share of all
EXPOSURE = (0.85, 1.15)


def relight(
    pixels: NDArray[np.uint8],
    depth: NDArray[np.floating],
    pose: NDArray[np.floating],
    fov_y: float,
    generator: np.random.Generator,
) -> NDArray[np.uint8]:
    """A view under a lamp somewhere above the camera, anything between hardly and fully shaded.

    Surfaces are Lambertian; normals come from the depth. Domain randomisation (Tobin et al. 2017, arXiv 1703.06907,
    section III): training under many lights generalises to the light of users' pictures.

    Args:
        pixels: unlit view, uint8 straight RGBA (H, W, 4).
        depth: along the ray in box units (H, W).
        pose: camera to world (4, 4).
        fov_y: vertical opening angle in radians.
        generator: draws the light.

    Returns:
        uint8 RGBA (H, W, 4).
    """
    normals = normals_of_depth(depth, pose, fov_y)  # (H, W, 3)
    in_camera = generator.uniform((-0.8, 0.2, 0.3), (0.8, 1.0, 1.0))  # from the left or right, above, in front
    lamp = pose[:3, :3] @ (in_camera / np.linalg.norm(in_camera))
    ambient, exposure, strength = generator.uniform(*AMBIENT), generator.uniform(*EXPOSURE), generator.uniform()
    lit = ambient + (1.1 - ambient) * np.clip(normals @ lamp, 0, None)  # (H, W)
    brightness = exposure * (1 - strength + strength * lit)  # (H, W)
    colors = linear_to_srgb(srgb_to_linear(pixels[..., :3] / 255) * brightness[..., None])  # (H, W, 3)
    return np.concatenate([np.rint(colors * 255).astype(np.uint8), pixels[..., 3:]], axis=-1)


def relit_view(sample: Mapping[str, Any], view: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """A view of a prepared sample under a light that the generator draws."""
    depth = sample[f"depth_{view:03d}.png"] * DEPTH_UNIT  # (H, W)
    return relight(
        np.array(sample[f"view_{view:03d}.png"]),
        depth,
        sample["cameras.npy"][view],
        sample["meta.json"]["fov_y"],
        generator,
    )


def normals_of_depth(depth: NDArray[np.floating], pose: NDArray[np.floating], fov_y: float) -> NDArray[np.floating]:
    """Unit normals that look towards the camera, world axes: depth (H, W) along the ray → (H, W, 3).

    At a silhouette (the last pixel before a step in depth) normals are perpendicular to the ray: rims look too dark.
    """
    rays = Camera(torch.from_numpy(np.asarray(pose, np.float64)), fov_y, *depth.shape).rays()
    directions = rays.directions.numpy()  # (H, W, 3)
    points = rays.origins.numpy() + directions * depth[..., None]  # (H, W, 3)
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normals = np.cross(down, across)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-12
    return np.where((normals * directions).sum(-1, keepdims=True) > 0, -normals, normals)
