"""Frames of a video or an animation, one after the other: a file of any length takes the memory of a few frames."""

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from fieldforge.errors import UserError, install_command
from fieldforge.readers.file_store import AssetError, Notes
from fieldforge.readers.texture import UNREADABLE

ENDINGS = ("mp4", "m4v", "mov", "webm", "mkv", "avi", "gif", "webp")
SHORTEST_SHOWN = 0.02
"""Seconds: an animation's frame that lasts less is shown for LASTING, as browsers do."""
LASTING = 0.1


@dataclass(frozen=True)
class TimedFrame:
    """One frame: when it is shown and for how long, in seconds; its size in pixels as stored; and a way to its pixels.

    Args:
        aspect: width of a pixel over its height.
        pixels: gives uint8 (height, width, 3 or 4).
    """

    time: float
    duration: float
    width: int
    height: int
    aspect: float
    pixels: Callable[[], np.ndarray]


def frames_of(name: str, payload: bytes, max_pixels: int, notes: Notes) -> Iterator[TimedFrame]:
    """The frames of a file in the order in which they are shown, from time 0 on, decoded one by one.

    Args:
        name: of the file, for messages.
        max_pixels: of a frame.

    Raises:
        AssetError: the file is of no known kind, damaged, without a video, or its frames change their size.
        UserError: it is a video, and what decodes them is not installed.
    """
    kind = _kind(payload)
    animated = kind in ("gif", "webp")
    frames = _animation(payload, max_pixels) if animated else _video(name, payload, kind, max_pixels, notes)
    first: TimedFrame | None = None
    try:
        for frame in frames:
            first = first or frame
            if (frame.width, frame.height) != (first.width, first.height):
                raise AssetError(
                    f"its frames change from {first.width} x {first.height} to {frame.width} x {frame.height} pixels; "
                    "cut it where they do."
                )
            yield frame
    except (MemoryError, UserError):  # the machine's matter; or a sentence already
        raise
    except Exception as error:  # decoders of damaged files fail in every way there is
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__
        raise AssetError(f"the clip cannot be read ({reason}); save it again, or take it away.") from error


def _kind(payload: bytes) -> str:
    """The container by its first bytes: FFmpeg would guess playlists too, which name other files. AssetError."""
    head = payload[:12]
    if not payload:
        raise AssetError("the file is empty; get it again.")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:] in (b"AVI ", b"WEBP"):
        return "avi" if head[8:] == b"AVI " else "webp"
    if head[:4] == b"GIF8":
        return "gif"
    known = next((name for start, name in UNREADABLE.items() if payload.lstrip().startswith(start)), None)
    kind = f"of a kind that is not read ({known})" if known else "no video or animation of a known kind"
    raise AssetError(f"the file is {kind}; save it as MP4, MOV, WebM, AVI, GIF or WebP.")


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise AssetError(
            f"its frames have {width} x {height} pixels, more than preparation.limits.max_megapixels="
            f"{max_pixels / 1e6:g}; make them smaller."
        )


def _animation(payload: bytes, max_pixels: int) -> Iterator[TimedFrame]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bombs: the size is checked here
        file = Image.open(io.BytesIO(payload), formats=("GIF", "WEBP"))
    with file:
        _check_pixels(file.width, file.height, max_pixels)
        time = 0.0
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            picture = file.convert("RGBA")
            duration = float(file.info.get("duration") or 0) / 1000
            duration = duration if duration >= SHORTEST_SHOWN else LASTING
            yield TimedFrame(time, duration, file.width, file.height, 1.0, partial(np.asarray, picture))
            time += duration


def _video(name: str, payload: bytes, kind: str, max_pixels: int, notes: Notes) -> Iterator[TimedFrame]:
    if importlib.util.find_spec("av") is None:
        raise UserError(f"reading '{name}' needs the package av: {install_command('clip')}.")
    import av

    with av.open(io.BytesIO(payload), "r", format=kind, metadata_errors="replace") as container:
        if not container.streams.video:
            raise AssetError("it holds no video stream; take it away, or get the file with its pictures.")
        stream = container.streams.video[0]
        _check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
        stream.codec_context.thread_count = 1  # processes share the cores
        stream.codec_context.options = {"err_detect": "explode"}  # else damage becomes smears
        interval = 1 / float(stream.average_rate) if stream.average_rate else LASTING
        begin: float | None = None
        time = -interval
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise AssetError("its frames are damaged; get the file again.")
            _check_pixels(frame.width, frame.height, max_pixels)
            if any(component.is_alpha for component in frame.format.components):
                notes.add("its transparency is left out; GIF and WebP keep theirs")
            stamp = time + interval if frame.time is None else float(frame.time)
            begin = stamp if begin is None else begin
            time = max(time, stamp - begin)  # (of damaged files they run back)
            duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else interval
            yield _timed(frame, time, duration, stream.sample_aspect_ratio)


def _timed(frame: Any, time: float, duration: float, ratio: Any) -> TimedFrame:
    """A decoded frame, upright as its camera says."""
    quarters = round(frame.rotation / 90) % 4  # counterclockwise
    width, height = (frame.width, frame.height) if quarters % 2 == 0 else (frame.height, frame.width)
    aspect = float(ratio) if ratio else 1.0
    return TimedFrame(
        time,
        duration,
        width,
        height,
        aspect if quarters % 2 == 0 else 1 / aspect,
        lambda: np.rot90(frame.to_ndarray(format="rgb24"), quarters),
    )
