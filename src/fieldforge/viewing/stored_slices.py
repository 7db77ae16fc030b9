"""What shows a stored sample: its pictures, and the points of its surface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fieldforge.data.manifest import Manifest
from fieldforge.errors import UserError
from fieldforge.rendering.bitmaps import flatten, write_gif, write_picture
from fieldforge.viewing.media import CLOUD, moving, write_cloud


@dataclass(frozen=True)
class StoredFiles:
    """The files of a stored sample: slice → picture or clip; and the points of a shape's surface, a PCD."""

    slices: Mapping[str, Path]
    cloud: Path | None = None


def stored_files(sample: Mapping[str, Any], kind: str, folder: Path, name: str, views: int = 1) -> StoredFiles:
    """Write the files of a stored sample into `folder`, under names that begin with `name`.

    Args:
        sample: as a shard's reader gives it.
        kind: of its schema, see `check_kind`.
        folder, name: of the files.
        views: how many of a shape's stored views, evenly chosen.
    """
    return KINDS[kind](sample, folder, name, views)


def default_slice(kind: str) -> str:
    """The slice that a dataset's grid shows."""
    return {"sample": "view 1", "image": "picture", "clip": "first frame"}[kind]


def check_kind(manifest: Manifest, key: str) -> str:
    """The kind of the shards. UserError for those that hold nothing to look at."""
    kind = manifest.schema.kind
    if kind not in KINDS:
        raise UserError(f"{key}= holds {manifest.schema.name} shards, nothing to look at: give those of prepare.py")
    return kind


def _shape(sample: Mapping[str, Any], folder: Path, name: str, views: int) -> StoredFiles:
    """Views, and the surface's coloured points."""
    stored = len(sample["cameras.npy"])
    numbers = np.linspace(0, stored, min(views, stored), endpoint=False).astype(int)
    slices = {
        f"view {place}": _picture(sample[f"view_{number:03d}.png"], folder / f"{name}_view_{place}.png")
        for place, number in enumerate(numbers, start=1)
    }
    points = sample["surface_points.npy"].astype(np.float32)
    return StoredFiles(slices, write_cloud(points, sample["surface_colors.npy"], folder / f"{name}{CLOUD}"))


def _image(sample: Mapping[str, Any], folder: Path, name: str, views: int) -> StoredFiles:
    return StoredFiles({"picture": _picture(sample["image.png"], folder / f"{name}.png")})


def _clip(sample: Mapping[str, Any], folder: Path, name: str, views: int) -> StoredFiles:
    """The first frame, and the clip."""
    meta = sample["meta.json"]
    frames = [flatten(Image.fromarray(sample[f"frame_{number:03d}.png"])) for number in range(len(meta["azimuth"]))]
    write_gif(frames, folder / f"{name}.gif", len(frames) / (meta["fps"] or USUAL_FPS))
    first = _picture(sample["frame_000.png"], folder / f"{name}_first.png")
    return StoredFiles({"first frame": first, "clip": moving(folder / f"{name}.gif")})


def _picture(pixels: np.ndarray, path: Path) -> Path:
    write_picture(flatten(Image.fromarray(pixels)), path)
    return path


USUAL_FPS = 8  # frames a second, of a clip that does not say
KINDS: Mapping[str, Callable[[Mapping[str, Any], Path, str, int], StoredFiles]] = {
    "sample": _shape,
    "image": _image,
    "clip": _clip,
}
"""Kind of a schema → how its samples are written."""
