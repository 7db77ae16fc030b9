"""Transforms of stored shapes: points, views, distances and rays to train on.

Letters: N surface points, M near and K volume points, R rays, V views of H × W pixels, all per sample. Arrays are
float32 in box units; colours 0…1.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fieldforge.data.shape_schema import DEPTH_UNIT, NORMAL_UNIT
from fieldforge.errors import UserError
from fieldforge.geometry.camera import Camera
from fieldforge.ranges import Count, Share, Whole


def pick(count: int, available: int, generator: np.random.Generator) -> np.ndarray:
    """`count` different indices below `available`; some twice only if there are too few."""
    if count <= available:
        return generator.choice(available, count, replace=False, shuffle=False)  # (count,)
    return generator.integers(available, size=count)  # (count,)


def views_left(sample: Mapping[str, Any]) -> np.ndarray:
    """Numbers of the stored views that an earlier transform has not given to a reconstructor (`given_numbers`)."""
    every = np.arange(len(sample["cameras.npy"]))
    return np.setdiff1d(every, sample["given_numbers"]) if "given_numbers" in sample else every


class Surface:
    """`input (N, 9)`: position, unit normal, sRGB of points that see the outside, in random order.

    The first `spread` of them are spread over the surface instead, by `farthest_first`: for encoders with centres.
    """

    def __init__(self, points: Count, spread: Whole = 0) -> None:
        self.points, self.spread = points, spread

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        exposed = np.flatnonzero(sample["surface_exposed.npy"])
        if len(exposed) == 0:
            exposed = np.arange(len(sample["surface_points.npy"]))
        chosen = exposed[pick(self.points, len(exposed), generator)]  # (N,)
        surface = np.empty((self.points, 9), np.float32)
        surface[:, :3] = sample["surface_points.npy"][chosen]
        surface[:, 3:6] = sample["surface_normals.npy"][chosen]
        surface[:, 6:] = sample["surface_colors.npy"][chosen]
        surface[:, 3:6] *= NORMAL_UNIT
        surface[:, 3:6] /= np.linalg.norm(surface[:, 3:6], axis=1, keepdims=True) + 1e-9
        surface[:, 6:] /= 255
        return {"input": surface[farthest_first(surface[:, :3], self.spread)] if self.spread else surface}


def farthest_first(points: np.ndarray, count: int) -> np.ndarray:
    """An order (N,) of points (N, 3): the first, then `count` - 1 by farthest-point sampling, then the rest as it was.

    Each of the former is the one farthest from all before it (PointNet++, Qi et al. 2017).
    """
    columns, order = np.ascontiguousarray(points.T), np.zeros(min(count, len(points)), np.int64)
    squares = np.full(len(points), np.inf, np.float32)  # of distances to the nearest of those taken
    for place in range(1, len(order)):
        apart = columns - columns[:, order[place - 1], None]
        np.minimum(squares, np.einsum("dn,dn->n", apart, apart), out=squares)
        squares[order[place - 1]] = -1  # (points may stand at one place)
        order[place] = squares.argmax()
    rest = np.ones(len(points), bool)
    rest[order] = False
    return np.concatenate([order, np.flatnonzero(rest)])


class Distances:
    """`near_points (M, 3), near_sdf (M,)` around the surface, `volume_points (K, 3), volume_sdf (K,)` in the box."""

    def __init__(self, near: Count, volume: Count) -> None:
        self.counts = {"near": near, "volume": volume}

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        samples = {}
        for kind, count in self.counts.items():
            points, distances = sample[f"{kind}_points.npy"], sample[f"{kind}_sdf.npy"]
            chosen = pick(count, len(points), generator)
            samples[f"{kind}_points"] = points[chosen].astype(np.float32)
            samples[f"{kind}_sdf"] = distances[chosen].astype(np.float32)
        return samples


class ViewRays:
    """Rays through pixels of a few random views of those that are not given (`views_left`); only these are decoded.

    `ray_origins (R, 3)`, `ray_directions (R, 3)` unit, `ray_rgba (R, 4)` sRGB premultiplied by alpha, `ray_depth (R,)`
    in box units along the ray (0: nothing hit). A share of the pixels lies within `spread` pixels of the object, so
    that background does not outweigh small shapes; the rest is uniform over the pixels whose rays meet the box.
    """

    def __init__(self, rays: Count, views: Count = 1, object_share: Share = 0.5, spread: Whole = 2) -> None:
        if not 0 <= object_share <= 1 or not 1 <= views <= rays:
            raise UserError(
                f"rays={rays}, views={views}, object_share={object_share}: the share lies in 0…1, "
                "and every view needs a ray; correct the data transforms."
            )
        self.rays, self.views, self.object_share, self.spread = rays, views, object_share, spread

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        cameras, fov_y = sample["cameras.npy"], sample["meta.json"]["fov_y"]
        left = views_left(sample)
        chosen = left[pick(self.views, len(left), generator)]
        counts = np.diff(np.arange(self.views + 1) * self.rays // self.views)  # (views,), sums to R
        parts = [
            self._rays_of_view(sample, cameras[view], fov_y, int(view), int(count), generator)
            for view, count in zip(chosen, counts, strict=True)
        ]
        names = ("ray_origins", "ray_directions", "ray_rgba", "ray_depth")
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}

    def _rays_of_view(
        self,
        sample: Mapping[str, Any],
        camera_to_world: np.ndarray,
        fov_y: float,
        view: int,
        count: int,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        picture = sample[f"view_{view:03d}.png"]  # (H, W, 4)
        depth = sample[f"depth_{view:03d}.png"]  # (H, W)
        camera = Camera(torch.from_numpy(camera_to_world.copy()), fov_y, *depth.shape)
        pixels = self._pixels(picture[..., 3], camera, count, generator)
        rows, columns = np.divmod(pixels, depth.shape[1])  # (count,)
        rays = camera.rays_through(torch.from_numpy(rows), torch.from_numpy(columns))
        rgba = picture[rows, columns].astype(np.float32) / 255
        rgba[:, :3] *= rgba[:, 3:]
        distance = depth[rows, columns].astype(np.float32) * np.float32(DEPTH_UNIT)
        return rays.origins.numpy(), rays.directions.numpy(), rgba, distance

    def _pixels(self, alpha: np.ndarray, camera: Camera, count: int, generator: np.random.Generator) -> np.ndarray:
        """Indices row * W + column (count,) of the pixels for the rays: near the object first, then uniform."""
        height, width = alpha.shape
        covered = np.flatnonzero(alpha)
        near = int(count * self.object_share) if len(covered) else 0
        rows, columns = np.divmod(covered[generator.integers(max(1, len(covered)), size=near)], width)
        offsets = generator.integers(-self.spread, self.spread + 1, size=(2, near))
        rows = np.clip(rows + offsets[0], 0, height - 1)
        columns = np.clip(columns + offsets[1], 0, width - 1)
        candidates = generator.integers(height * width, size=4 * count)
        meeting = candidates[meets_box(camera, candidates)]
        uniform = np.resize(meeting if len(meeting) else candidates, count - near)
        return np.concatenate([rows * width + columns, uniform])


class Views:
    """`count` different stored views at random of those that are not given (`views_left`).

    `view_rgba (V, H, W, 4)`, alpha not multiplied in; `view_depth (V, H, W)` in box units along the ray (0: nothing
    hit); `view_cameras (V, 4, 4)`, camera to world; `fov_y ()` in radians.
    """

    def __init__(self, count: Count) -> None:
        self.count = count

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        cameras = sample["cameras.npy"]  # (stored views, 4, 4)
        left = views_left(sample)
        if len(left) < self.count:
            raise UserError(
                f"data: {self.count} views of each shape are encoded, and a shape has {len(left)}: lower "
                f"domain.encoded_views, or prepare the shapes with preparation.views.count={self.count}"
            )
        chosen = left[pick(self.count, len(left), generator)]
        pictures = np.stack([sample[f"view_{view:03d}.png"] for view in chosen])
        depths = np.stack([sample[f"depth_{view:03d}.png"] for view in chosen])
        return {
            "view_rgba": pictures.astype(np.float32) / 255,
            "view_depth": depths.astype(np.float32) * np.float32(DEPTH_UNIT),
            "view_cameras": cameras[chosen].astype(np.float32),
            "fov_y": np.array(sample["meta.json"]["fov_y"], np.float32),
        }


def meets_box(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """Whether the rays through pixels row * W + column (P,) meet the box: bool (P,)."""
    rows, columns = np.divmod(pixels, camera.width)
    near, far = camera.rays_through(torch.from_numpy(rows), torch.from_numpy(columns)).box_interval()
    return (far > near).numpy()


class Augment:
    """Rotates a whole sample about y by a random one of `turns` equal steps, and mirrors x with probability 1/2 if set.

    After rotations other than quarter turns the sample is scaled down to stay in the box, with distances and depths.
    Pictures of mirrored samples are mirrored, so that cameras stay right-handed.
    """

    POINTS = ("near_points", "volume_points", "ray_origins")
    VECTORS = ("ray_directions",)
    LENGTHS = ("near_sdf", "volume_sdf", "ray_depth", "view_depth")
    PICTURES = ("view_rgba", "view_depth", "given_rgba")

    def __init__(self, turns: Count = 1, mirror: bool = False) -> None:
        self.turns, self.mirror = turns, mirror

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        angle = 2 * math.pi * int(generator.integers(self.turns)) / self.turns
        sign = -1.0 if self.mirror and generator.random() < 0.5 else 1.0
        cosine, sine = math.cos(angle), math.sin(angle)
        scale = 1.0 if 4 * angle % (2 * math.pi) == 0 else 1 / (abs(cosine) + abs(sine))
        rotation = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]) @ np.diag([sign, 1, 1])
        turn = rotation.round(9).astype(np.float32).T  # for row vectors, v @ turn; quarter turns are exact
        result = {name: sample[name] @ (turn * np.float32(scale)) for name in self.POINTS if name in sample}
        result |= {name: sample[name] @ turn for name in self.VECTORS if name in sample}
        result |= {name: sample[name] * np.float32(scale) for name in self.LENGTHS if name in sample}
        if "input" in sample:
            surface = sample["input"]
            points, normals = surface[:, :3] @ (turn * np.float32(scale)), surface[:, 3:6] @ turn
            result["input"] = np.concatenate([points, normals, surface[:, 6:]], axis=1)
        for kind in ("view", "given"):
            if f"{kind}_cameras" in sample:
                result[f"{kind}_cameras"] = _turned(sample[f"{kind}_cameras"], turn, np.float32(scale), sign)
        if sign < 0:
            pictures = {name: result.get(name, sample[name]) for name in self.PICTURES if name in sample}
            result |= {name: values[:, :, ::-1].copy() for name, values in pictures.items()}
        return result


def _turned(cameras: np.ndarray, turn: np.ndarray, scale: np.float32, sign: float) -> np.ndarray:
    """Cameras (V, 4, 4) of a sample turned by v @ turn (3, 3) and scaled; right-handed, for mirrored pictures."""
    turned = cameras.copy()
    turned[:, :3, :3] = turn.T @ cameras[:, :3, :3] * np.array([sign, 1, 1], np.float32)
    turned[:, :3, 3] = cameras[:, :3, 3] @ (turn * scale)
    return turned
