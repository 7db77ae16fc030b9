"""Transforms of stored clips: their frames over white, with what is known of their directions and cameras."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldforge.data.image_transforms import middle_square, over_white, resized
from fieldforge.errors import UserError
from fieldforge.ranges import Count
from fieldforge.storage.store import MemberError


class ClipFrames:
    """Consecutive frames of a clip from a random one on, or all of them; only these are decoded.

    `frames (V, 3, H, W)` sRGB in 0…1 over white, H = W = `size`; `azimuth (V,)`, `elevation (V,)` in radians and
    `fps ()`, NaN where unknown. With `cameras` also `frame_cameras (V, 4, 4)`, camera to world, and `fov_y ()` in
    radians.

    Args:
        size: pixels. Of frames of other sizes the largest square in the middle is resized with anti-aliasing (Lanczos).
        count: of frames; None: all, which have to be as many in every clip of a batch.
        cameras: whether the clips have cameras, which are read too.
    """

    def __init__(self, size: Count, count: Count | None = None, cameras: bool = False) -> None:
        self.size, self.count, self.cameras = size, count, cameras

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        meta = sample["meta.json"]
        chosen = self.chosen(len(meta["azimuth"]), generator)
        fields = {
            "frames": self.pixels(sample, chosen),
            "azimuth": np.array(meta["azimuth"][chosen], np.float32),  # None becomes NaN
            "elevation": np.array(meta["elevation"][chosen], np.float32),
            "fps": np.array(meta["fps"], np.float32),
        }
        return fields | (self._cameras(sample, meta["fov_y"], chosen) if self.cameras else {})

    def pixels(self, sample: Mapping[str, Any], chosen: slice) -> np.ndarray:
        """The chosen frames over white, float32 (V, 3, H, W), sRGB in 0…1."""
        names = [f"frame_{frame:03d}.png" for frame in range(chosen.start, chosen.stop)]
        squares = np.stack([self._square(sample[name]) for name in names])
        return np.ascontiguousarray(squares.transpose(0, 3, 1, 2), np.float32) / np.float32(255)

    def chosen(self, stored: int, generator: np.random.Generator, anywhere: bool = True) -> slice:
        """The consecutive frames to take: from a random one on, or the first ones. UserError for too few."""
        count = stored if self.count is None else self.count
        if count > stored:
            raise UserError(
                f"data: {count} frames of each clip are read, and a clip has {stored}: lower the transform's count, or "
                f"prepare the clips with {count} frames"
            )
        start = int(generator.integers(stored - count + 1)) if anywhere else 0
        return slice(start, start + count)

    def _square(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (size, size, 3)."""
        return resized(over_white(pixels), self.size, middle_square(*pixels.shape[:2]))

    def _cameras(self, sample: Mapping[str, Any], fov_y: float | None, chosen: slice) -> dict[str, Any]:
        if "cameras.npy" not in sample or fov_y is None:
            raise MemberError("it has no cameras, which the training reads; prepare orbits, or set cameras=false.")
        return {"frame_cameras": sample["cameras.npy"][chosen].astype(np.float32), "fov_y": np.array(fov_y, np.float32)}


class ClipInput:
    """`input` (V, 3, H, W): consecutive frames over white, sRGB in -1…1, H = W = `size`.

    Args:
        size: pixels, see `ClipFrames`.
        count: V.
        anywhere: from a random frame on, for training; else the clip's first frames.
    """

    def __init__(self, size: Count, count: Count, anywhere: bool = False) -> None:
        self.frames, self.anywhere = ClipFrames(size, count), anywhere

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        stored = len(sample["meta.json"]["azimuth"])
        return {"input": self.frames.pixels(sample, self.frames.chosen(stored, generator, self.anywhere)) * 2 - 1}


class FrameInput:
    """`input` (3, H, W): one frame of a clip over white, sRGB in -1…1, H = W = `size`.

    Args:
        size: pixels, see `ClipFrames`.
        anywhere: a random frame, for training; else the first.
        flip: mirrors left and right with probability 1/2.
    """

    def __init__(self, size: Count, anywhere: bool = False, flip: bool = False) -> None:
        self.clip, self.flip = ClipInput(size, 1, anywhere), flip

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        pixels = self.clip(sample, generator)["input"][0]
        mirrored = self.flip and generator.random() < 0.5
        return {"input": np.ascontiguousarray(pixels[..., ::-1]) if mirrored else pixels}
