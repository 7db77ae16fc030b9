"""Sample shards of clips: V frames of H × W pixels in sRGB, with or without straight alpha, in order."""

import math
from collections.abc import Mapping
from typing import Any

from fieldforge.data.image_schema import color_channels
from fieldforge.data.meta import COMMON_META, MetaTypes
from fieldforge.data.schema import FieldSpec, Schema
from fieldforge.data.shape_schema import camera_poses

CLIP_META: MetaTypes = {
    **COMMON_META,
    "fps": (float, int, type(None)),
    "fov_y": (float, int, type(None)),
    "azimuth": list,
    "elevation": list,
}
"""`fps`: frames a second; `fov_y` of the cameras, vertical, in radians; `azimuth` and `elevation`: one entry a frame,
in radians, the direction from which its object is seen. All of them null where unknown."""


def _meta(meta: Mapping[str, Any]) -> str | None:
    azimuth, elevation = meta["azimuth"], meta["elevation"]
    if not azimuth or len(azimuth) != len(elevation):
        return f"has {len(azimuth)} entries of azimuth and {len(elevation)} of elevation, but needs one a frame of each"
    for angle in (*azimuth, *elevation):
        if angle is not None and not (type(angle) in (float, int) and math.isfinite(angle)):
            return f"has the angle {angle!r}, which is neither radians nor null"
    fps, fov_y = meta["fps"], meta["fov_y"]
    if fps is not None and not 0 < fps < math.inf:
        return f"has fps={fps}, which is no number of frames a second"
    return None if fov_y is None or 0 < fov_y < math.pi else f"has fov_y={fov_y}, which is no angle of a camera"


CLIP = Schema(
    name="clip",
    version=1,
    fields=(
        FieldSpec("meta.json"),
        FieldSpec("cameras.npy", "float32", ("V", 4, 4), optional=True, limit=1000.0, fault=camera_poses),
        FieldSpec("frame_{:03d}.png", "uint8", ("H", "W", "C"), per_view=True, fault=color_channels),
    ),
    meta=CLIP_META,
    meta_fault=_meta,
    views="azimuth",
)
