"""A user's pictures with their cameras → the views that a reconstructor is given.

Cameras stand in a file `cameras.json` or `transforms.json` beside the pictures, a subset of what NeRF's data have:
`frames`, each with `file_path` and `transform_matrix` (4 × 4, camera to world in OpenGL axes, box units); the opening
angle as `camera_angle_x` or `camera_angle_y` in radians, or as `fl_x` and `fl_y` in pixels of a picture of `w` × `h`;
`cx`, `cy` where its middle is elsewhere. A frame's own values override those of all frames. Other keys mean nothing
here, but for a lens's distortion, which is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fieldforge.autoencoder.lifting import lattice, places_in_views, read_plane
from fieldforge.conditioning.framing import load_picture, object_mask, remove_background
from fieldforge.errors import UserError
from fieldforge.geometry.camera import BOX, orbit_poses
from fieldforge.rendering.shading import Stand

FILES = ("cameras.json", "transforms.json")
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
ROUND = 1.3  # what is read of a picture reaches this much farther from its middle than the object does
FOV_Y = math.radians(40)  # of a photograph without a camera; that of the stored views
LONGEST = 0.9 * BOX  # half of the longest side of a shape
FAINT = 8  # of 255: what is less opaque than this shows nothing
HULL = 32  # points along an axis, of which one at least lies inside of all silhouettes


@dataclass(frozen=True)
class Photograph:
    """One picture and its camera.

    rgba: uint8 (H, W, 4), the object alone. pose: camera to world (4, 4). focal: pixels along x and y. middle: where
    the camera's axis meets the picture, (x, y) in pixels from the top left corner.
    """

    rgba: np.ndarray
    pose: np.ndarray
    focal: tuple[float, float]
    middle: tuple[float, float]

    def squared(self, size: int) -> tuple[np.ndarray, float]:
        """A square about the middle that holds the object, float32 (size, size, 4) in 0…1, and its opening angle."""
        rows, columns = np.nonzero(self.rgba[..., 3] > FAINT)
        across = max(abs(columns.min() - self.middle[0]), abs(columns.max() + 1 - self.middle[0])) / self.focal[0]
        down = max(abs(rows.min() - self.middle[1]), abs(rows.max() + 1 - self.middle[1])) / self.focal[1]
        half = ROUND * max(across, down)  # tangent of half the opening angle
        x, y = half * self.focal[0], half * self.focal[1]
        box = (self.middle[0] - x, self.middle[1] - y, self.middle[0] + x, self.middle[1] + y)
        return resized(self.rgba, size, box), 2 * math.atan(half)


def resized(rgba: np.ndarray, size: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """A box (left, top, right, bottom) of a picture, which may reach beyond it: (size, size, 4) in 0…1, straight."""
    room = math.ceil(max(0.0, -box[0], -box[1], box[2] - rgba.shape[1], box[3] - rgba.shape[0]))
    padded = np.pad(rgba, ((room, room), (room, room), (0, 0)))
    moved = tuple(edge + room for edge in box)
    whole = Image.fromarray(padded).convert("RGBa").resize((size, size), Image.Resampling.BICUBIC, box=moved)
    return np.asarray(whole.convert("RGBA")).astype(np.float32) / 255


def given_batch(photographs: Sequence[Photograph], size: int) -> dict[str, Tensor]:
    """The fields of `GivenViews` of one shape."""
    squares, angles = zip(*(photograph.squared(size) for photograph in photographs), strict=True)
    return {
        "given_rgba": torch.from_numpy(np.stack(squares))[None],
        "given_cameras": torch.from_numpy(np.stack([photograph.pose for photograph in photographs])).float()[None],
        "given_fov": torch.tensor([angles]),
        "given_mask": torch.ones(1, len(photographs)),
    }


def read_photographs(path: Path, cut_out: bool) -> list[Photograph]:
    """The photographs of a folder or of its file of cameras.

    Raises:
        UserError: no cameras, or unusable ones; a picture that is missing or shows nothing; silhouettes that enclose
            nothing together.
    """
    file = camera_file(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"views={file}: this is no readable JSON ({error}): correct it") from error
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UserError(f"views={file}: there are no frames: give a list of them, each file_path and transform_matrix")
    photographs = [photograph(file, number, {**content, **frame}, cut_out) for number, frame in enumerate(frames)]
    check_common(photographs, file)
    return photographs


def camera_file(path: Path) -> Path:
    """The file of cameras that is meant. UserError where there is none."""
    if path.is_file():
        return path
    there = [path / name for name in FILES if (path / name).is_file()]
    if not there:
        where = "there is no such folder" if not path.is_dir() else f"it holds no {' and no '.join(FILES)}"
        raise UserError(
            f"views={path}: {where}, and a reconstructor needs to know from where its pictures were taken: write the "
            f"cameras down (docs/from_one_picture.md), or give one picture as image="
        )
    return there[0]


def photograph(file: Path, number: int, frame: Mapping[str, Any], cut_out: bool) -> Photograph:
    """One frame of a file of cameras. UserError for an unusable one."""
    where = f"views={file}, frame {number}"
    name = frame.get("file_path")
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{where}: it has no file_path: name its picture, relative to that file")
    rgba = cut_picture(file.parent / name, where, cut_out)
    height, width = rgba.shape[:2]
    focal = focal_lengths(frame, width, height, where)
    middle = (middle_of(frame, "cx", "w", width, where), middle_of(frame, "cy", "h", height, where))
    return Photograph(rgba, pose_of(frame, where), focal, middle)


def cut_picture(path: Path, where: str, cut_out: bool) -> np.ndarray:
    """A picture of the object alone, uint8 RGBA (H, W, 4). UserError for one that shows no object apart."""
    if not path.suffix and path.with_suffix(".png").is_file():
        path = path.with_suffix(".png")  # as NeRF's synthetic data name them
    try:
        pixels = load_picture(path)
    except UserError as error:
        raise UserError(str(error).replace("image=", f"{where}: ", 1)) from error
    if cut_out:
        pixels = remove_background(pixels)
    mask = object_mask(pixels)
    if mask is None:
        raise UserError(
            f"{where}: {path.name} has neither transparency nor a plain background, so that nothing tells the object: "
            f"cut it out, or give remove_background=true"
        )
    if not (mask > FAINT).any():
        raise UserError(f"{where}: {path.name} shows nothing: give a picture that shows the object")
    return np.concatenate([pixels[..., :3], mask[..., None]], -1)


def focal_lengths(frame: Mapping[str, Any], width: int, height: int, where: str) -> tuple[float, float]:
    """Focal lengths along x and y in pixels of the picture. UserError without an opening angle, or with distortion."""
    bent = [key for key in DISTORTION if frame.get(key)]
    if bent:
        raise UserError(
            f"{where}: {bent[0]}={frame[bent[0]]} bends the picture: undistort the pictures, and set it to 0"
        )
    found: dict[str, float] = {}
    for axis, side, size in (("x", width, "w"), ("y", height, "h")):
        if f"fl_{axis}" in frame:
            found[axis] = number_of(frame, f"fl_{axis}", where) * enlargement(frame, size, side, where)
        elif f"camera_angle_{axis}" in frame:
            angle = number_of(frame, f"camera_angle_{axis}", where)
            if not 0 < angle < math.pi:
                raise UserError(f"{where}: camera_angle_{axis}={angle:g} is no opening angle in radians: correct it")
            found[axis] = side / 2 / math.tan(angle / 2)
    if not found or min(found.values()) <= 0:
        raise UserError(f"{where}: its opening angle is missing: give camera_angle_x in radians, or fl_x in pixels")
    return found.get("x", found.get("y", 0.0)), found.get("y", found.get("x", 0.0))


def middle_of(frame: Mapping[str, Any], key: str, size: str, side: int, where: str) -> float:
    """Where the camera's axis meets the picture along a side, in its pixels."""
    return number_of(frame, key, where) * enlargement(frame, size, side, where) if key in frame else side / 2


def enlargement(frame: Mapping[str, Any], size: str, side: int, where: str) -> float:
    """How many pixels of the picture one pixel of the camera is. UserError for a size that is none."""
    if size not in frame:
        return 1.0
    if (own := number_of(frame, size, where)) <= 0:
        raise UserError(f"{where}: {size}={own:g} is no size of a picture in pixels: correct it")
    return side / own


def number_of(frame: Mapping[str, Any], key: str, where: str) -> float:
    """A number of a frame. UserError for what is none."""
    value = frame[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}: {key}={value!r} is no number: correct it")
    return float(value)


def pose_of(frame: Mapping[str, Any], where: str) -> np.ndarray:
    """Camera to world (4, 4). UserError for what is no rotation and translation, or a camera that sees no box."""
    try:
        pose = np.array(frame.get("transform_matrix"), np.float64)
    except (TypeError, ValueError):
        pose = np.empty(0)
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise UserError(f"{where}: its transform_matrix is no 4 × 4 numbers: give camera to world, row by row")
    turn = pose[:3, :3]
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=1e-2) and np.linalg.det(turn) > 0
    if not rigid or not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise UserError(
            f"{where}: its transform_matrix is no rotation and translation (the rotation has determinant "
            f"{np.linalg.det(turn):.3g}): give camera to world without scale or mirror"
        )
    eye = pose[:3, 3]
    if np.abs(eye).max() <= BOX:
        place = ", ".join(f"{value:.3g}" for value in eye)
        raise UserError(
            f"{where}: its camera stands at ({place}), inside of the box from -1 to 1 that holds the object: scale the "
            f"positions so that the object's longest side is 1.8 about the origin"
        )
    if eye @ turn[:, 2] <= 0:
        raise UserError(f"{where}: its camera looks away from the origin: a camera looks along its own -z (OpenGL)")
    return pose


def check_common(photographs: Sequence[Photograph], file: Path) -> None:
    """UserError unless some point of the box lies inside of all silhouettes."""
    batch = given_batch(photographs, 2 * HULL)
    places = places_in_views(
        lattice(HULL, torch.device("cpu")), batch["given_cameras"][0], batch["given_fov"][0], batch["given_mask"][0]
    )
    opacity = read_plane(batch["given_rgba"][0, ..., 3][:, None], places.plane)[:, 0]  # (V, P)
    if not ((opacity > 0.5) & (places.present > 0)).all(0).any():
        raise UserError(
            f"views={file}: no point of the box from -1 to 1 lies inside of the object in all {len(photographs)} "
            f"pictures: give the cameras in the box's frame, y up, the object's longest side 1.8 about the origin"
        )


def lone_photograph(path: Path, azimuth: float | None, elevation: float | None, cut_out: bool) -> Photograph:
    """A picture without a camera, as if taken from these angles in degrees (None: those of portraits).

    The object is in the middle, and as near as a shape of the usual size would fill the picture.
    """
    rgba = cut_picture(path, f"image={path}", cut_out)
    rows, columns = np.nonzero(rgba[..., 3] > FAINT)
    middle = ((columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2)
    half = max(np.ptp(columns) + 1, np.ptp(rows) + 1) / 2  # pixels, of the longest side that is seen
    distance = LONGEST / math.tan(FOV_Y / 2) * ROUND
    focal = half * distance / LONGEST
    angles = [
        usual if degrees is None else math.radians(degrees)
        for degrees, usual in ((azimuth, Stand().azimuth), (elevation, Stand().elevation))
    ]
    pose = orbit_poses(torch.tensor(angles[0]), torch.tensor(angles[1]), distance).numpy()
    return Photograph(rgba, pose, (focal, focal), middle)
