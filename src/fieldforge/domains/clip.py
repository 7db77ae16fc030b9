"""The domain of clips: colour in a square over time, learned from shards of clips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.framing import frame
from fieldforge.conditioning.sample_pictures import view_of
from fieldforge.data.clip_schema import CLIP
from fieldforge.data.clip_transforms import FPS_SCALE, ClipInput, angles_from
from fieldforge.data.image_transforms import middle_square, over_white, resized
from fieldforge.data.schema import Sample
from fieldforge.data.transforms import Transform
from fieldforge.domains.clip_outputs import Clips, four_of
from fieldforge.domains.domain import Outputs, Truth
from fieldforge.domains.picture_features import PictureFeatures
from fieldforge.domains.six_view_outputs import SixViews
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.fields.clip_grid import ClipGrid
from fieldforge.geometry.six_views import with_six_views
from fieldforge.metrics.reconstruction import peak_signal_to_noise
from fieldforge.preparation.clips.moving_pictures import frames_of
from fieldforge.ranges import Count, Positive, Range
from fieldforge.ranges import Pixels as Side
from fieldforge.readers.file_store import AssetError, Notes

MOST_PIXELS = 40_000_000  # of a frame of a user's file
MARGIN = 0.12  # that orbits leave around an object, in the mean, on either side
ELEVATION = 10.0  # degrees, of orbits where none is asked for
MOTION = 0.3  # of videos, likewise


class FirstPicture:
    """`image`: the stored clip's first frame, uint8 RGBA (H, W, 4)."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {"image": view_of(sample, 0)}


class ClipDomain(PictureFeatures):
    """Clips of square frames over white.

    Args:
        size: pixels along a side of the autoencoder's input.
        frames: V, frames of a clip; longer stored clips are cut, shorter ones refused.
        resolution: pixels along a side of outputs; None: `size`.
        fps: frames a second of the files of outputs.
        directions: from which the frames of a user's picture are made: a full turn, or those of `with_six_views`.
        batch: pictures per batch of the network that computes signatures.
    """

    noun = "clip"
    medium = "video"
    schema = CLIP
    dimensions = 3
    heads = frozenset({"rgb"})
    shown_measures = ("psnr", "perceptual", "motion", "true_motion")

    def __init__(
        self,
        size: Side = 64,
        frames: Annotated[int, Range(2, 1000)] = 21,
        resolution: Side | None = None,
        fps: Positive = 7.0,
        directions: Literal["orbit", "six_views"] = "orbit",
        batch: Count = 32,
    ):
        if directions == "six_views" and frames != 7:
            raise UserError(f"domain.frames={frames} must be 7 with domain.directions=six_views: a picture and six")
        self.directions = directions
        self.size, self.frames, self.resolution, self.fps, self.batch = size, frames, resolution, fps, batch

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "frames": self.frames, "resolution": self.resolution}

    def determining(self) -> dict[str, Any]:
        return {"size": self.size, "frames": self.frames}

    def example(self) -> Sample:
        return example_clip(self.size, self.frames)

    def input_transforms(self) -> list[Transform]:
        return [ClipInput(self.size, self.frames)]

    def truth_transforms(self) -> list[Transform]:
        return []  # `input` is the truth

    def condition_transforms(self, keys: set[str]) -> list[Transform]:
        return [FirstPicture()] if "image" in keys else []

    def outputs(self, field: Field, params: Params, resolution: int | None = None) -> Clips:
        """Clips of at least `size`² pixels, of as many frames as the parameters have."""
        frames = next(iter(params.values())).shape[1] // self.size**2
        kind = SixViews if self.directions == "six_views" else Clips
        return kind(field, params, max(resolution or 0, self.resolution or self.size), frames, self.fps)

    def points_of_picture(self, resolution: int | None, size: int | None = None) -> int:
        return self.frames * max(resolution or 0, self.resolution or self.size) ** 2

    def compare(self, outputs: Outputs, truth: Truth, size: int) -> list[list[Image.Image | None]]:
        true = [four_of(images_of(frames), size) for frames in truth["input"]]
        return [[true[index], outputs[index].picture(size)] for index in range(len(outputs))]

    def measure(self, output: Outputs, truth: Truth) -> dict[str, float]:
        """`psnr` (dB) of sRGB in 0…1 over all frames, `perceptual` (`PerceptualDistance`), at `size` × `size` pixels.

        `motion`: mean absolute difference of neighbouring frames, sRGB in 0…1, and `true_motion`, the truth's.
        """
        assert isinstance(output, Clips)
        true = truth["input"][0].float()  # (V, 3, H, W)
        pixels = Clips(output.field, output.params, self.size, output.frames, self.fps).pixels[0]
        made = torch.from_numpy(pixels * 2 - 1).permute(0, 3, 1, 2)  # (V, 3, H, W)
        with torch.no_grad():
            distance = self._distance(made, true)
        return {
            "psnr": peak_signal_to_noise(((made + 1) / 2).numpy(), ((true + 1) / 2).numpy()),
            "perceptual": float(distance),
            "motion": float(motion_of(made)) / 2,
            "true_motion": float(motion_of(true)) / 2,
        }

    def signatures(self, outputs: Outputs) -> list[np.ndarray]:
        """Mean features (1280,) of four frames."""
        assert isinstance(outputs, Clips)
        return self._of_clips(torch.from_numpy(outputs.pixels).permute(0, 1, 4, 2, 3))

    def stored_signatures(self, batch: Truth) -> list[np.ndarray]:
        return self._of_clips((batch["input"] + 1) / 2)

    def _of_clips(self, clips: Tensor) -> list[np.ndarray]:
        """B mean features (F,) of clips (B, V, 3, H, W), sRGB in 0…1."""
        chosen = clips[:, [place * clips.shape[1] // 4 for place in range(4)]]
        features = np.stack(self._features(chosen.flatten(0, 1)))  # (B · 4, F)
        return list(features.reshape(len(clips), 4, -1).mean(1))

    @torch.no_grad()
    def opening(self, autoencoder: Autoencoder, pixels: np.ndarray, wishes: Mapping[str, float]) -> dict[str, Tensor]:
        """`first_frame` (n, C), `angles` (V, 3), `motion` (2,), see `ClipLatent`, of a full turn or of six views.

        The picture is seen from `elevation` degrees above the horizon, where it is wished. The object is cut out of its
        plain or transparent background and framed as in orbits.
        """
        square = frame(pixels, self.size, MARGIN)  # (H, W, 3)
        picture = torch.from_numpy(square.copy()).permute(2, 0, 1).to(autoencoder.latent_mean) / 127.5 - 1
        height = math.radians(wishes.get("elevation", ELEVATION))
        azimuth, elevation = np.arange(self.frames) * (2 * math.pi / self.frames), np.full(self.frames, height)
        if self.directions == "six_views":
            azimuth, elevation = map(np.array, with_six_views(0.0, height))
        motion = [wishes.get("fps", self.fps) / FPS_SCALE, wishes.get("motion", MOTION)]
        return {
            "first_frame": autoencoder.encode({"input": picture[None, None]})[0],
            "angles": torch.from_numpy(angles_from(azimuth, elevation)),
            "motion": torch.tensor(motion),
        }

    def shown(self, samples: Tensor) -> Clips:
        rows = samples.permute(0, 1, 3, 4, 2).flatten(1, 3).contiguous()  # (B, V · H · W, 3)
        return self.outputs(ClipGrid(self.size, self.frames), {"pixels": rows})

    def read_file(self, path: Path, seed: int) -> dict[str, Tensor]:
        """`input` (1, V, 3, H, W): the first frames of a video or animation.

        Raises:
            UserError: a missing or unreadable file, or one of fewer frames.
        """
        if not path.is_file():
            raise UserError(f"from={path}: there is no such file, give the path of a video or an animation")
        try:
            frames = frames_of(path.name, path.read_bytes(), MOST_PIXELS, Notes([]))
            squares = [square_frame(each.pixels(), self.size) for each in islice(frames, self.frames)]
        except AssetError as error:
            raise UserError(f"from={path}: {error}") from error
        if len(squares) < self.frames:
            raise UserError(f"from={path}: it has {len(squares)} frames, and a clip of this model {self.frames}")
        pixels = np.stack(squares).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - 1
        return {"input": torch.from_numpy(pixels)[None]}


def example_clip(size: int, frames: int) -> Sample:
    """A stored clip with placeholder values."""
    texts = dict.fromkeys(("id", "name", "class", "source", "licence", "creator", "split"), "")
    known = {"fps": 8.0, "fov_y": 1.0, "azimuth": [0.0] * frames, "elevation": [0.0] * frames}
    meta = {**texts, "captions": ["a"], "captions_by_language": {}, "tags": [], **known}
    pixels = np.zeros((size, size, 3), np.uint8)
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    return {"meta.json": meta, "cameras.npy": poses, **{f"frame_{number:03d}.png": pixels for number in range(frames)}}


def images_of(frames: Tensor) -> list[Image.Image]:
    """Frames (V, 3, H, W) in -1…1 as pictures."""
    pixels = ((frames.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
    return [Image.fromarray(each) for each in pixels]


def motion_of(frames: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring frames (V, 3, H, W): ()."""
    return frames.diff(dim=0).abs().mean()


def square_frame(pixels: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the middle of a frame, over white, uint8 (size, size, 3)."""
    return resized(over_white(np.ascontiguousarray(pixels)), size, middle_square(*pixels.shape[:2]))
