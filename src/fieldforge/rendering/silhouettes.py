"""Antialiasing of silhouettes with gradients to vertices (nvdiffrast, Laine et al. 2020, section 3.5).

Between the centres of two neighbouring pixels that see different surfaces runs a silhouette edge. Where it crosses the
line between the centres says how far the nearer surface reaches into the farther one's pixel; colours blend by that
share, and the share carries the gradient. The paper looks at the edges of the triangles seen at the two centres; here
all silhouette edges are drawn, so that no triangle is too small to have one. Pairs are side by side for steep edges
(more rows than columns), one above the other for shallow ones: each stretch of an outline counts once.

Axis letters: V views, H/W pixels, K channels, P vertices, F faces, E edges, N crossings.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fieldforge.geometry.camera import Camera
from fieldforge.rendering.raster import NOTHING


def antialias(image: Tensor, face: Tensor, distance: Tensor, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """The image (V, H, W, K) with blended silhouettes, of vertices (P, 3), faces (F, 3) and V poses (V, 4, 4).

    face (V, H, W): the visible face, -1 for none; distance (V, H, W): its distance along the camera's -z.
    """
    with torch.no_grad():
        crossings = _outermost(_visible(_crossings(vertices, faces, camera), face, distance, camera), face)
    inner, outer, share = crossings.blend(vertices, camera)  # (N,), (N,), (N,)
    flat = image.flatten(0, 2)
    change = flat[inner] - flat[outer]  # (N, K)
    # A share over 1/2 reaches into the outer pixel; what is missing to 1/2 leaves the inner one.
    target = torch.where(share > 0.5, outer, inner)
    return flat.index_add(0, target, (share - 0.5).unsqueeze(-1) * change).view_as(image)


@dataclass(frozen=True)
class _Crossings:
    """Silhouette edges at lines through pixel centres; each field (N,), but for ends (N, 2), the edge's vertices.

    beside: whether the line is a row, with pairs side by side, or a column; dominant: whether such pairs are those of
    this edge; line: number of the row or column; pixel: the pair's first pixel on it; share of the way to the second
    one's centre; surface_first: whether the edge's surface is on the first pixel's side; distance of the edge.
    """

    view: Tensor
    ends: Tensor
    beside: Tensor
    dominant: Tensor
    line: Tensor
    pixel: Tensor
    share: Tensor
    surface_first: Tensor
    distance: Tensor

    def __getitem__(self, which: Tensor) -> "_Crossings":
        return replace(self, **{name: value[which] for name, value in vars(self).items()})

    def pair(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Flat numbers (N,) of the two pixels among V · H · W: on the surface's side, and beyond the edge."""
        row = torch.where(self.beside, self.line, self.pixel)
        column = torch.where(self.beside, self.pixel, self.line)
        first = (self.view * height + row) * width + column
        second = first + torch.where(self.beside, 1, width)
        return torch.where(self.surface_first, first, second), torch.where(self.surface_first, second, first)

    def blend(self, vertices: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
        """Inner and outer pixel, and the share (N,) of the way between their centres that the surface covers."""
        views = replace(camera, camera_to_world=camera.camera_to_world[self.view])
        pixels, _ = views.project(vertices[self.ends])  # (N, 2, 2)
        along = torch.where(self.beside, pixels[..., 0].T, pixels[..., 1].T)  # (2, N), across the lines
        place = torch.where(self.beside, pixels[..., 1].T, pixels[..., 0].T)
        crossing = place[0] + (self.line + 0.5 - along[0]) / (along[1] - along[0]) * (place[1] - place[0])
        share = crossing - (self.pixel + 0.5)
        share = torch.where(self.surface_first, share, 1 - share).clamp(0, 1)
        return *self.pair(camera.height, camera.width), share


def _crossings(vertices: Tensor, faces: Tensor, camera: Camera) -> _Crossings:
    """All crossings of silhouette edges with lines of both kinds inside of the picture, seen or not."""
    pixels, distance = camera.project(vertices)  # (V, P, 2), (V, P)
    ends, side = _silhouettes(pixels, faces)  # (E, 2), (V, E)
    view, edge = ((side != 0) & (distance[:, ends] > 0).all(dim=-1)).nonzero(as_tuple=True)
    ends, side = ends[edge], side[view, edge]
    corner, depth = pixels[view.unsqueeze(-1), ends], distance[view.unsqueeze(-1), ends]  # (E, 2, 2), (E, 2)
    step = corner[:, 1] - corner[:, 0]
    steep = step[:, 0].abs() >= step[:, 1].abs()
    found = []
    for rows in (True, False):
        size = (camera.height, camera.width) if rows else (camera.width, camera.height)
        which, line, place, far = _on_lines(corner if rows else corner.flip(-1), depth, size)
        pixel = (place - 0.5).floor()
        # The side is positive to the right of an edge that runs down; columns for rows turn the sign.
        toward = (side * (step[:, 0] if rows else -step[:, 1]))[which]
        beside, dominant = torch.full_like(toward, rows, dtype=torch.bool), steep[which] == rows
        share, surface_first = place - (pixel + 0.5), toward < 0
        found.append((view[which], ends[which], beside, dominant, line, pixel.long(), share, surface_first, far))
    return _Crossings(*(torch.cat(fields) for fields in zip(*found, strict=True)))


def _on_lines(corner: Tensor, depth: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where edges (E, 2, 2) cross lines of pixel centres: number of edge and line, place on the line, distance; (N,).

    The corners' coordinates are across the lines, and along them; size: the number of lines, and of pixels on each.
    """
    low, high = ((end - 0.5).ceil().clamp(0, size[0]).long() for end in corner[..., 0].aminmax(dim=1))
    counts = high - low  # the upper end is exclusive
    edge = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)  # (N,)
    line = low[edge] + torch.arange(len(edge), device=edge.device) - (counts.cumsum(0) - counts)[edge]
    start, end = corner[edge].unbind(dim=1)
    share = (line + 0.5 - start[:, 0]) / (end[:, 0] - start[:, 0])
    place = start[:, 1] + share * (end[:, 1] - start[:, 1])
    depth = 1 / ((1 - share) / depth[edge, 0] + share / depth[edge, 1])  # 1/z is linear in the picture
    inside = (place >= 0.5) & (place < size[1] - 0.5)
    return edge[inside], line[inside], place[inside], depth[inside]


def _silhouettes(pixels: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Edges (E, 2) of the mesh, and the side (V, E) on which all their faces lie in the picture: ±1, 0 for both sides.

    pixels (V, P, 2). An edge with one face has it on one side.
    """
    halves = torch.stack([faces, faces.roll(-1, 1)], dim=-1).reshape(-1, 2).sort(dim=-1).values  # (3F, 2)
    opposite = faces.roll(-2, 1).flatten()
    count = pixels.shape[1]
    key, edge = (halves[:, 0] * count + halves[:, 1]).unique(return_inverse=True)
    start, end, third = pixels[:, halves[:, 0]], pixels[:, halves[:, 1]], pixels[:, opposite]  # (V, 3F, 2)
    a, b = end - start, third - start
    side = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sign()
    edge = edge.expand(len(side), -1)
    least = side.new_full((len(side), len(key)), 2).scatter_reduce(1, edge, side, "amin")
    most = side.new_full((len(side), len(key)), -2).scatter_reduce(1, edge, side, "amax")
    ends = torch.stack([key // count, key % count], dim=-1)
    return ends, torch.where(least == most, least, 0.0)


def _visible(crossings: _Crossings, face: Tensor, distance: Tensor, camera: Camera) -> _Crossings:
    """Those whose own side shows a surface that is not behind the edge, and whose other side shows what is."""
    inner, outer = crossings.pair(camera.height, camera.width)
    seen = torch.where(face >= 0, distance, torch.inf).flatten()
    # Inside, a surface may recede from its edge: by as much as eight pixels are wide.
    slack = 8 * crossings.distance * 2 * math.tan(camera.fov_y / 2) / camera.height
    return crossings[(seen[inner] <= crossings.distance + slack) & (seen[outer] > crossings.distance)]


def _outermost(crossings: _Crossings, face: Tensor) -> _Crossings:
    """Of each pair of pixels that see different faces, the crossing that is farthest from the surface's pixel.

    Inside of an outline there may be edges of hidden surfaces, even nearer ones: voids, parts that reach into others.
    The outline hides them also where it is not for such a pair to blend.
    """
    views, height, width = face.shape
    inner, outer = crossings.pair(height, width)
    crossings = crossings[face.flatten()[inner] != face.flatten()[outer]]
    inner, outer = crossings.pair(height, width)
    pair = 2 * torch.minimum(inner, outer) + crossings.beside.long()
    left = torch.where(crossings.surface_first, 1 - crossings.share, crossings.share).clamp(0, 1)
    # As in the rasteriser: bits of positive floats sort as integers.
    order = torch.arange(len(pair), device=pair.device)
    key = (left.float().view(torch.int32).long() << 32) | order
    least = pair.new_full((2 * views * height * width,), NOTHING).scatter_reduce(0, pair, key, "amin")
    crossings = crossings[least[least != NOTHING] & 0xFFFFFFFF]
    return crossings[crossings.dominant]
