"""Transforms of stored clips and of their latents: frames over white, directions, cameras."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldforge.data.image_transforms import middle_square, over_white, resized
from fieldforge.errors import UserError
from fieldforge.ranges import Count
from fieldforge.storage.store import MemberError

FPS_SCALE = 30.0
"""Frames a second that count as 1 in `motion`."""


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
                f"data: {count} frames of each clip are read, and a clip has {stored}: lower domain.frames or the "
                f"transform's count, or prepare the clips with {count} frames"
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


class ClipLatent:
    """A stored latent of a clip with what a denoiser of clips reads beside it; V frames of n tokens, T = V · n.

    `latent (T, C)` and `first_frame (n, C)`, the part of the first frame; `view ()`, the stored number of that frame.
    With `angles`, `angles (V, 3)`: cosine and sine of each frame's azimuth from the first one's on, and its elevation
    in radians. With `motion`, `motion (2,)`: frames a second over 30, and the mean absolute difference of neighbouring
    frames of the latent, by which a user may ask for more or less of it.

    Args:
        frames: V.
        turns: a closed orbit begins at any of its frames, so each is a first one in training.
        angles, motion: whether to give them.
    """

    def __init__(self, frames: Count, turns: bool = False, angles: bool = True, motion: bool = False) -> None:
        self.frames, self.turns, self.angles, self.motion = frames, turns, angles, motion

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        meta = sample["meta.json"]
        clip = sample["latent.npy"].astype(np.float32).reshape(self.frames, -1, sample["latent.npy"].shape[-1])
        first = int(generator.integers(self.frames)) if self.turns and len(meta["azimuth"]) == self.frames else 0
        clip = np.roll(clip, -first, axis=0)  # (V, n, C)
        fields = {"latent": clip.reshape(-1, clip.shape[-1]), "first_frame": clip[0], "view": np.array(first)}
        if self.angles:
            fields["angles"] = angles_from(*(self._known(meta, key, first) for key in ("azimuth", "elevation")))
        if self.motion:
            if meta["fps"] is None:
                raise MemberError("it has no frame rate (fps), which the training reads; read its angles instead.")
            fields["motion"] = np.array([meta["fps"] / FPS_SCALE, np.abs(np.diff(clip, axis=0)).mean()], np.float32)
        return fields

    def _known(self, meta: Mapping[str, Any], key: str, first: int) -> np.ndarray:
        """Angles of all frames (V,), the first one's in front."""
        angles = meta[key][: self.frames]
        if None in angles:
            raise MemberError(
                f"it has no {key} of its cameras, which the training reads; prepare orbits, or take conditioner=video "
                "and latent_data.transforms.latent={motion:true,angles:false,turns:false}."
            )
        return np.roll(np.array(angles, np.float32), -first)


class SomeFrames:
    """Random frames of a clip of latents, with their angles, in order: for a denoiser that looks at each by itself.

    Args:
        count: of frames.
    """

    def __init__(self, count: Count) -> None:
        self.count = count

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        latent, places = sample["latent"], len(sample["first_frame"])
        clip = latent.reshape(-1, places, latent.shape[-1])  # (V, n, C)
        chosen = np.sort(generator.choice(len(clip), min(self.count, len(clip)), replace=False))
        fields = {"latent": clip[chosen].reshape(-1, latent.shape[-1])}
        return fields | ({"angles": sample["angles"][chosen]} if "angles" in sample else {})


def angles_from(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """float32 (V, 3): cosine and sine of the azimuths (V,) from the first on, and the elevations (V,), in radians."""
    turned = azimuth - azimuth[0]
    return np.stack([np.cos(turned), np.sin(turned), elevation], axis=1).astype(np.float32)
