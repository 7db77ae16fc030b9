"""Outputs of the clip domain, and their files. B clips, V frames, H/W pixels."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fieldforge.errors import UserError, install_command
from fieldforge.fields.base import Field, Params
from fieldforge.fields.clip_grid import clip_centres
from fieldforge.rendering.bitmaps import gif_bytes, write_picture, write_whole
from fieldforge.training.processes.side_files import side_file

STRIP = 11
"""Frames of a contact strip, if the clip has as many."""


@dataclass(frozen=True)
class Clips:
    """B clips: a field with their parameters, queried at `frames` times resolution² pixel centres.

    fps: frames a second of the files.
    """

    field: Field
    params: Params  # name → (B, rows, width)
    resolution: int
    frames: int
    fps: float

    is_empty = False

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    def __getitem__(self, index: int) -> Clips:
        one = {name: value[index : index + 1] for name, value in self.params.items()}
        return replace(self, params=one)

    @cached_property
    def pixels(self) -> np.ndarray:
        """Pixels float32 (B, V, H, W, 3), sRGB in 0…1."""
        rows, side = next(iter(self.params.values())), self.resolution
        points = clip_centres(side, self.frames, rows.device).expand(len(rows), -1, -1)  # (B, V · H · W, 3)
        with torch.no_grad():
            rgb = self.field.query(points, self.params)["rgb"].clamp(0, 1)  # (B, V · H · W, 3)
        return rgb.float().cpu().numpy().reshape(len(rows), self.frames, side, side, 3)

    @cached_property
    def images(self) -> list[Image.Image]:
        """The frames of one clip, RGB."""
        return [Image.fromarray(frame) for frame in (self.pixels[0] * 255).round().astype(np.uint8)]

    def picture(self, size: int) -> Image.Image:
        """Four frames of one clip as a square, RGBA, size × size pixels, row by row in order."""
        return four_of(self.images, size)

    def media(self) -> tuple[str, bytes] | None:
        """The clip as a GIF, which every browser shows."""
        return "image/gif", gif_bytes(self.images, len(self.images) / self.fps)

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        """Write one clip as MP4 and GIF, and a strip of some of its frames; None for a file that was not written."""
        files: dict[str, str | None] = {"mp4": None, "gif": None, "strip": None}
        with side_file(folder / f"{name}.mp4"):
            write_whole(mp4_bytes(self.images, self.fps), folder / f"{name}.mp4")
            files["mp4"] = f"{name}.mp4"
        with side_file(folder / f"{name}.gif"):
            write_whole(gif_bytes(self.images, len(self.images) / self.fps), folder / f"{name}.gif")
            files["gif"] = f"{name}.gif"
        with side_file(folder / f"{name}_strip.png"):
            write_picture(strip_of(self.images), folder / f"{name}_strip.png")
            files["strip"] = f"{name}_strip.png"
        return files


def four_of(frames: list[Image.Image], size: int) -> Image.Image:
    """Four frames, a quarter of the clip apart, as a square of size × size pixels, RGBA."""
    half, square = size // 2, Image.new("RGBA", (size, size))
    for place in range(4):
        frame = frames[place * len(frames) // 4].convert("RGBA")
        filter_ = Image.Resampling.NEAREST if half >= frame.width else Image.Resampling.LANCZOS
        square.paste(frame.resize((half, half), filter_), (place % 2 * half, place // 2 * half))
    return square


def strip_of(frames: list[Image.Image], most: int = STRIP) -> Image.Image:
    """At most so many frames, evenly spread from the first to the last, side by side."""
    count = min(most, len(frames))
    chosen = [frames[round(place * (len(frames) - 1) / max(1, count - 1))] for place in range(count)]
    strip = Image.new("RGB", (sum(frame.width for frame in chosen), chosen[0].height))
    for place, frame in enumerate(chosen):
        strip.paste(frame, (place * frame.width, 0))
    return strip


def mp4_bytes(frames: list[Image.Image], fps: float) -> bytes:
    """The frames as an MP4 file (H.264), a last row or column of odd sizes left out.

    Raises:
        UserError: the package that codes videos is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(f"MP4 files need the package av: {install_command('clip')}.") from error
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options={"crf": "12"})
        stream.width, stream.height = (side // 2 * 2 for side in frames[0].size)  # the colours have half as many pixels
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            pixels = np.asarray(frame)[: stream.height, : stream.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
