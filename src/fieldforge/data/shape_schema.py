"""Sample shards of shapes.

N surface points, M points near the surface, K points in the volume, V views, H x W pixels.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from fieldforge.data.meta import COMMON_META, MetaTypes
from fieldforge.data.schema import FieldSpec, Schema

DEPTH_UNIT = 8.0 / 65535
"""Box units per step of a depth picture."""

NORMAL_UNIT = 1.0 / 127
"""Length per step of a stored normal."""

FARTHEST = 4.0
"""Box units: no coordinate and no distance is beyond it (the box's diagonal is 3.5)."""

SHAPE_META: MetaTypes = {
    **COMMON_META,
    "center": list,
    "scale": (float, int),
    "epsilon": (float, int),
    "fov_y": (float, int),
    "size_cm": (list, type(None)),
}
"""`fov_y` in radians; `center` and `scale` map the asset's own units into the box by (p - center) * scale; `epsilon`
(box units) is already taken off the distances; `size_cm` is width, height, depth."""


def _meta(meta: Mapping[str, Any]) -> str | None:
    center, scale, fov_y = meta["center"], meta["scale"], meta["fov_y"]
    for number in (scale, meta["epsilon"], *center):
        if not isinstance(number, float | int) or not -math.inf < number < math.inf:
            return f"has {number!r} in center, scale or epsilon"
    if len(center) != 3 or not scale > 0:
        return "needs a center of 3 numbers and a positive scale"
    return None if 0 < fov_y < math.pi else f"has fov_y={fov_y}, which is no angle of a camera"


def _normals(normals: np.ndarray) -> str | None:
    sound = bool((normals[:, 0] | normals[:, 1] | normals[:, 2]).all())
    return None if sound else "holds a normal of length 0"


def camera_poses(poses: np.ndarray) -> str | None:
    """The fault of cameras float32 (V, 4, 4) that are no rotations and translations."""
    return _poses_of(poses.tobytes())


@lru_cache(maxsize=64)  # assets that are prepared together are often seen from the same places
def _poses_of(content: bytes) -> str | None:
    poses = np.frombuffer(content, np.float32).reshape(-1, 4, 4)
    turns = poses[:, :3, :3]
    straight = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3, dtype=np.float32)).max() < 0.01
    sound = straight and (np.linalg.det(turns) > 0).all() and (poses[:, 3] == (0, 0, 0, 1)).all()
    return None if sound else "holds a camera that is no rotation and translation"


SAMPLE = Schema(
    name="sample",
    version=1,
    fields=(
        FieldSpec("meta.json"),
        FieldSpec("surface_points.npy", "float16", ("N", 3), limit=FARTHEST),
        FieldSpec("surface_normals.npy", "int8", ("N", 3), fault=_normals),
        FieldSpec("surface_colors.npy", "uint8", ("N", 3)),
        FieldSpec("surface_exposed.npy", "uint8", ("N",)),
        FieldSpec("near_points.npy", "float16", ("M", 3), limit=FARTHEST),
        FieldSpec("near_sdf.npy", "float16", ("M",), limit=FARTHEST),
        FieldSpec("volume_points.npy", "float16", ("K", 3), limit=FARTHEST),
        FieldSpec("volume_sdf.npy", "float16", ("K",), limit=FARTHEST),
        FieldSpec("cameras.npy", "float32", ("V", 4, 4), limit=1000.0, fault=camera_poses),
        FieldSpec("view_{:03d}.png", "uint8", ("H", "W", 4), per_view=True),
        FieldSpec("depth_{:03d}.png", "uint16", ("H", "W"), per_view=True),
    ),
    meta=SHAPE_META,
    meta_fault=_meta,
)
