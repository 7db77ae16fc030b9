"""The recipe of clips from videos and animations."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.image_transforms import resized
from fieldforge.preparation.asset_records import AssetRecord, split_of
from fieldforge.preparation.clips.frame_tiles import four_frames
from fieldforge.preparation.clips.moving_pictures import TimedFrame, frames_of
from fieldforge.preparation.images.picture_recipe import PictureLimits, allowed_square
from fieldforge.preparation.recipe import PreparedAsset, Recipe
from fieldforge.ranges import Count, Frames, Pixels, Positive, ShareBelow1
from fieldforge.readers.file_store import AssetError, FileStore, Notes

ROUNDING = 1e-4
"""Seconds by which times of frames are rounded at most."""


@dataclass(frozen=True, kw_only=True)
class ClipLimits(PictureLimits):
    """Limits of clips: those of pictures for each frame, and of what is decoded of one file.

    max_frame_megapixels: frames that are decoded × megapixels of each.
    """

    max_megapixels: Positive = 40.0
    max_frame_megapixels: Positive = 20000.0


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(Recipe):
    """The first `frames` frames of a file at `fps`, of each the largest square in the middle.

    Args:
        frames: of every clip; shorter files are rejected, longer ones cut.
        fps: frames a second; at each of their times the frame is taken that a player shows. None: every frame.
        size: pixels along a side; smaller clips stay as they are.
        limits: beyond these a file is rejected.
        heldout_share: of all name stems.
        samples_per_shard: clips of a tar.
    """

    schema = CLIP
    version = 1
    libraries = ("psutil",)
    preload = ("fieldforge.preparation.asset_process", "fieldforge.preparation.clips.clip_recipe")

    frames: Frames
    fps: Positive | None
    size: Pixels
    limits: ClipLimits
    heldout_share: ShareBelow1
    samples_per_shard: Count

    def prepare(self, record: AssetRecord, store: FileStore, seed: int) -> PreparedAsset:
        if record.reject is not None:
            raise AssetError(record.reject)
        notes = Notes([])
        pixels, fps = self._chosen(self._decoded(record.file, store.read(record.file), notes), notes)
        split = record.split or split_of(record.name, self.heldout_share)
        sample = {
            "meta.json": {
                **record.meta(record.captions or [record.name], split),
                "fps": fps,
                "fov_y": None,
                "azimuth": [None] * self.frames,
                "elevation": [None] * self.frames,
            },
            **{f"frame_{number:03d}.png": frame for number, frame in enumerate(pixels)},
        }
        return PreparedAsset(self.schema.encode(record.key, sample), four_frames(pixels), notes.texts)

    def _decoded(self, name: str, payload: bytes, notes: Notes) -> Iterator[TimedFrame]:
        """The file's frames. AssetError where more are decoded than may be."""
        decoded = 0
        for frame in frames_of(name, payload, int(self.limits.max_megapixels * 1e6), notes):
            decoded += frame.width * frame.height
            if decoded > self.limits.max_frame_megapixels * 1e6:
                raise AssetError(
                    f"it takes more than preparation.limits.max_frame_megapixels={self.limits.max_frame_megapixels:g} "
                    "(frames × megapixels) until the clip ends; cut it, or make it smaller."
                )
            yield frame

    def _chosen(self, decoded: Iterator[TimedFrame], notes: Notes) -> tuple[np.ndarray, float | None]:
        """Squares uint8 (frames, H, W, 3 or 4) and their frames a second. AssetError for too short a file."""
        count = Counted(decoded)
        if self.fps is None:
            taken: Iterable[TimedFrame] = islice(count, self.frames)
        else:
            taken = shown_at([number / self.fps for number in range(self.frames)], count)
        squares, times = [], []
        for frame in taken:
            squares.append(self._square(frame, notes))
            times.append(frame.time)
        if len(squares) < self.frames:
            raise AssetError(self._too_short(count))
        if self.fps is not None and len(set(times)) < len(times):
            notes.add(f"it has fewer frames a second than preparation.fps={self.fps:g}: some frames repeat")
        pixels = np.stack(squares)
        span = times[-1] - times[0]
        fps = self.fps or ((self.frames - 1) / span if span > 0 else None)
        return pixels[..., :3] if pixels.shape[3] == 4 and (pixels[..., 3] == 255).all() else pixels, fps

    def _too_short(self, count: "Counted") -> str:
        if count.frames == 0:
            return "its video holds no frames; get the file again."
        if count.frames == 1:
            return "it holds a single frame: that is a picture, which source=pictures prepares."
        if self.fps is None:
            return f"it has {count.frames} frames, fewer than preparation.frames={self.frames}; lower that."
        return (
            f"it lasts {count.seconds:.2f} s, and preparation.frames={self.frames} at preparation.fps={self.fps:g} "
            f"take {(self.frames - 1) / self.fps:.2f} s from the first to the last; lower frames or raise fps."
        )

    def _square(self, frame: TimedFrame, notes: Notes) -> np.ndarray:
        """uint8 (size, size, 3 or 4), or less of a smaller frame."""
        (left, top, right, bottom), side = allowed_square(round(frame.width * frame.aspect), frame.height, self.limits)
        if side < self.size:
            notes.add(f"its shorter side has {side} pixels, fewer than preparation.size={self.size}: it stays so")
        box = (left / frame.aspect, top, min(right / frame.aspect, frame.width), bottom)
        return resized(frame.pixels(), min(side, self.size), box)


class Counted:
    """Frames that pass: how many, and the seconds until the last one ends."""

    def __init__(self, frames: Iterable[TimedFrame]) -> None:
        self.passing = frames
        self.frames, self.seconds = 0, 0.0

    def __iter__(self) -> Iterator[TimedFrame]:
        for frame in self.passing:
            self.frames += 1
            self.seconds = frame.time + frame.duration
            yield frame


def shown_at(times: list[float], frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
    """The frame that is shown at each of these seconds, in rising order; it ends where the frames do."""
    waiting = iter([*times, float("inf")])
    time = next(waiting)
    shown: TimedFrame | None = None
    for frame in frames:
        while shown is not None and time < frame.time - ROUNDING:
            yield shown
            time = next(waiting)
        if time == float("inf"):
            return
        shown = frame
    while shown is not None and time < shown.time + shown.duration - ROUNDING:
        yield shown
        time = next(waiting)
