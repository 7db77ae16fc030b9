"""What views say about the points of a lattice: features and silhouettes, read where the points are seen.

Letters: n views of a whole batch, V of a sample, C channels of a feature, D depths, r points of the lattice along an
axis, P = r³ of them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.geometry.camera import BOX

REACH = BOX * math.sqrt(3)  # box units: how far from its middle the box reaches
FAINT = 0.01  # the least opacity that a view claims; so one view's error does not decide alone
SEEN = 6  # what `lifted` puts before the features: inside, colour, share of views, variance of opacity


class Places(NamedTuple):
    """Where points are in views: plane (n, P, 2), x right and y down, -1…1 in the picture; depth (n, P), -1…1 in the
    box along the view's axis; present (n, P), 1 where the view sees the point and 0 where it does not."""

    plane: Tensor
    depth: Tensor
    present: Tensor


def lattice(points: int, device: torch.device) -> Tensor:
    """Centres (P, 3) of the cells of the box, x slowest."""
    along = (torch.arange(points, device=device) + 0.5) * (2 * BOX / points) - BOX
    return torch.stack(torch.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3)


def places_in_views(points: Tensor, cameras: Tensor, fov: Tensor, mask: Tensor) -> Places:
    """points (P, 3), cameras (n, 4, 4) to world, fov (n,) of square pictures, mask (n,) of the views that are there."""
    eyes = cameras[:, :3, 3]  # (n, 3)
    local = (points - eyes[:, None]) @ cameras[:, :3, :3]  # (n, P, 3)
    along = -local[..., 2]  # (n, P)
    before = along > 1e-3
    scale = torch.where(before, along, 1.0) * (fov / 2).tan()[:, None]  # (n, P), half the picture's side there
    plane = torch.stack([local[..., 0], -local[..., 1]], -1) / scale[..., None]
    middle = (eyes * cameras[:, :3, 2]).sum(-1, keepdim=True)  # (n, 1), of the box along the view's axis
    present = before & (plane.abs() <= 1).all(-1) & (mask > 0)[:, None]
    return Places(plane.clamp(-2, 2), (along - middle) / REACH, present.float())


def read_plane(images: Tensor, plane: Tensor) -> Tensor:
    """images (n, C, H, W) at plane (n, P, 2): (n, C, P)."""
    return F.grid_sample(images, plane[:, None], padding_mode="border", align_corners=False)[:, :, 0]


def read_frustum(volume: Tensor, places: Places) -> Tensor:
    """volume (n, C, D, H, W), depths from the near end of the box to the far one, at places: (n, C, P)."""
    where = torch.cat([places.plane, places.depth[..., None]], -1)[:, None, None]  # (n, 1, 1, P, 3)
    return F.grid_sample(volume, where, padding_mode="border", align_corners=False)[:, :, 0, 0]


def shares_of_views(places: Places, views: int) -> Tensor:
    """What each of the V views of a sample counts in a mean at a point, 0 where it does not see it: (B, V, 1, P)."""
    present = places.present.unflatten(0, (-1, views))[:, :, None]
    return present / present.sum(1, keepdim=True).clamp(min=1)


def lifted_pixels(rgba: Tensor, features: Tensor, places: Places, views: int) -> Tensor:
    """Means over the V views that see a point: (B, SEEN + C, P).

    rgba (n, 4, H, W) premultiplied and features (n, C, h, w), n = B · V. Before the features come whether the point is
    inside of all silhouettes (the visual hull: the product of opacities), the mean colour, the share of views that see
    it, and the variance of opacities.
    """
    present, shares = places.present.unflatten(0, (-1, views))[:, :, None], shares_of_views(places, views)
    seen = present.sum(1)  # (B, 1, P)
    pixels = read_plane(rgba, places.plane).unflatten(0, (-1, views))  # (B, V, 4, P)
    read = read_plane(features, places.plane).unflatten(0, (-1, views))  # (B, V, C, P)
    opacity = pixels[:, :, 3:]
    inside = (opacity.clamp(min=FAINT).log() * present).sum(1).exp() * (seen > 0)  # (B, 1, P)
    mean = (pixels * shares).sum(1)  # (B, 4, P)
    variance = (opacity.square() * shares).sum(1) - mean[:, 3:].square()
    return torch.cat([inside, mean[:, :3], seen / (1 + seen), variance, (read * shares).sum(1)], 1)


def lifted_frustums(volume: Tensor, places: Places, views: int) -> Tensor:
    """Means over the V views that see a point of what they say is at its depth: volume (n, C, D, h, w) → (B, C, P)."""
    features = read_frustum(volume, places).unflatten(0, (-1, views))  # (B, V, C, P)
    return (features * shares_of_views(places, views)).sum(1)
