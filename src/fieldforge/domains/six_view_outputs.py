"""Outputs of six views around a picture: clips, and the views with their cameras as a reconstructor reads them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fieldforge.conditioning.framing import object_mask
from fieldforge.domains.clip_outputs import Clips
from fieldforge.domains.photographs import FAINT, FILES, FOV_Y, LONGEST
from fieldforge.geometry.camera import orbit_poses
from fieldforge.geometry.six_views import with_six_views
from fieldforge.rendering.bitmaps import write_picture, write_whole
from fieldforge.training.processes.side_files import side_file


@dataclass(frozen=True)
class SixViews(Clips):
    """B clips of a picture and six views of its object."""

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        """The files of a clip, and `<name>_views/`: the six views and `cameras.json`, for `sample.py views=`."""
        files = {**super().write(folder, name), "views": None}
        place = folder / f"{name}_views"
        with side_file(place):
            place.mkdir(exist_ok=True)
            for number, view in enumerate(self.images[1:]):
                write_picture(view, place / f"view_{number}.png")
            write_whole(json.dumps(cameras_of(self.images[1:]), indent=1).encode(), place / FILES[0])
            files["views"] = f"{place.name}/{FILES[0]}"
        return files


def cameras_of(views: list[Image.Image]) -> dict[str, object]:
    """The cameras of six views, the picture's azimuth 0, in the form that `read_photographs` reads.

    They stand as far away as an object whose longest side is that of a shape is as large as the largest of the views.
    """
    extents = [extent(np.asarray(view.convert("RGBA"))) for view in views]
    distance = LONGEST / (max(extents) * math.tan(FOV_Y / 2))
    azimuths, elevations = with_six_views(0.0, 0.0)
    poses = orbit_poses(torch.tensor(azimuths[1:]), torch.tensor(elevations[1:]), distance).tolist()
    frames = [{"file_path": f"view_{number}.png", "transform_matrix": pose} for number, pose in enumerate(poses)]
    return {"camera_angle_x": FOV_Y, "frames": frames}


def extent(pixels: np.ndarray) -> float:
    """Half of the longest side of the object in RGBA pixels (H, W, 4), of half of the picture; 1 where none is told."""
    mask = object_mask(pixels)
    if mask is None or not (mask > FAINT).any():
        return 1.0
    rows, columns = np.nonzero(mask > FAINT)
    return float(max(np.ptp(rows) + 1, np.ptp(columns) + 1)) / len(pixels)
