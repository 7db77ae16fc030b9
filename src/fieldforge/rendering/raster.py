"""A z-buffer rasteriser for triangle meshes in plain torch: the visible face of each pixel, and the point on it.

Axis letters: P vertices, F faces, H/W pixels, K values of an attribute; N candidate pairs of a face and a pixel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.geometry.camera import Camera

PAIRS_AT_ONCE = 2**21
NOTHING = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Fragments:
    """The visible surface of each pixel: hit (H, W) bool, face (H, W), corners (H, W, 3) and weights (H, W, 3).

    face: number of the face, -1 where nothing is hit; corners: its vertex indices; weights: perspective-correct
    barycentric weights, float32. Both are zeros where nothing is hit. All are on the mesh's device.
    """

    hit: Tensor
    face: Tensor
    corners: Tensor
    weights: Tensor

    def interpolate(self, attribute: Tensor) -> Tensor:
        """A vertex attribute (P, K) at the pixels (H, W, K); 0 where nothing is hit."""
        return (attribute[self.corners] * self.weights.unsqueeze(-1)).sum(dim=-2)


def rasterize(vertices: Tensor, faces: Tensor, camera: Camera) -> Fragments:
    """Fragments of the nearest faces; vertices (P, 3), faces (F, 3), one pose (4, 4). Both sides of a face are seen.

    Faces that reach behind the camera are left out, not clipped: place the camera outside of the mesh.
    """
    height, width, device = camera.height, camera.width, vertices.device
    if len(faces) == 0:
        nothing = torch.zeros(height, width, 3, device=device)
        return Fragments(nothing[..., 0] > 0, nothing[..., 0].long() - 1, nothing.long(), nothing)
    pixels, distance = camera.project(vertices)  # (P, 2), (P,)
    corners = pixels[faces]  # (F, 3, 2) as row, column
    # Pixel (r, c) has its centre at r + 0.5; first is the first centre inside the bounding box, last the last.
    limits = torch.tensor([height - 1, width - 1], device=device)
    first = (corners.amin(dim=1) - 0.5).ceil().clamp_min(0)
    last = torch.minimum((corners.amax(dim=1) - 0.5).floor(), limits)
    extent = (last - first + 1).clamp_min(0).long()  # (F, 2)
    visible = (distance[faces] > 0).all(dim=1) & (doubled_area(corners).abs() > 1e-12)
    counts = torch.where(visible, extent.prod(dim=1), 0)  # pixels to try per face

    nearest = torch.full((height * width,), NOTHING, device=device)
    order = counts.nonzero().squeeze(-1)
    groups = (counts[order].cumsum(0) // PAIRS_AT_ONCE).unique_consecutive(return_counts=True)[1]
    for group in order.split(groups.tolist()):
        face, pixel = _candidates(first[group].long(), extent[group], counts[group], width)
        face = group[face]
        centers = torch.stack([pixel // width, pixel % width], dim=-1) + 0.5  # (N, 2)
        flat = screen_weights(corners[face], centers)  # (N, 3)
        depth = 1 / (flat / distance[faces[face]]).sum(dim=-1)  # 1/z is linear in the picture
        inside = (flat >= 0).all(dim=-1)
        # The bits of positive floats sort as integers: depth first, then face, in one number to take the least of.
        key = (depth.float().view(torch.int32).long() << 32) | face
        nearest.scatter_reduce_(0, pixel[inside], key[inside], "amin")
    return _resolve(nearest.reshape(height, width), faces, corners, distance)


def _candidates(first: Tensor, extent: Tensor, counts: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """All pairs of a face (N,) and a pixel (N,) of its bounding box."""
    face = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    place = torch.arange(len(face), device=counts.device) - (counts.cumsum(0) - counts)[face]
    columns = extent[face, 1]
    return face, (first[face, 0] + place // columns) * width + first[face, 1] + place % columns


def doubled_area(corners: Tensor) -> Tensor:
    """Signed, (F,), of triangles (F, 3, 2)."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def screen_weights(corners: Tensor, points: Tensor) -> Tensor:
    """Barycentric weights (N, 3) of points (N, 2) in triangles (N, 3, 2) of the picture."""
    rows, columns = (corners - points.unsqueeze(1)).permute(2, 1, 0)  # (3, N) each
    first, second = [1, 2, 0], [2, 0, 1]  # the corners opposite of each
    areas = rows[first] * columns[second] - columns[first] * rows[second]
    return (areas / doubled_area(corners)).T


def _resolve(nearest: Tensor, faces: Tensor, corners: Tensor, distance: Tensor) -> Fragments:
    hit = nearest != NOTHING  # (H, W)
    face = nearest[hit] & 0xFFFFFFFF
    flat = screen_weights(corners[face], hit.nonzero() + 0.5) / distance[faces[face]]
    numbers, indices = nearest.new_full(hit.shape, -1), nearest.new_zeros(*hit.shape, 3)
    weights = torch.zeros(*hit.shape, 3, device=hit.device)
    numbers[hit], indices[hit] = face, faces[face]
    weights[hit] = (flat / flat.sum(dim=-1, keepdim=True)).float()
    return Fragments(hit, numbers, indices, weights)
