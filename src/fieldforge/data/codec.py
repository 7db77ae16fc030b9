"""Bytes of one member: `.npy` arrays (never pickled), `.json` objects, `.png` pictures. Equal values, equal bytes."""

import ast
import io
import json
import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from PIL import Image

from fieldforge.errors import UserError

Payload = bytes | memoryview
MOST_PIXELS = 4096**2  # of a view


def encode_npy(array: np.ndarray) -> bytes:
    """C-ordered, little-endian, format version 1.0, whatever the memory layout of `array`."""
    little_endian = array.dtype.newbyteorder("<")
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array, little_endian), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


@lru_cache(maxsize=4096)
def _parse_npy_header(header: bytes) -> tuple[np.dtype, tuple[int, ...], int, Literal["C", "F"]]:
    # Headers repeat from sample to sample, and parsing one costs more than reading the array behind it.
    fields = ast.literal_eval(header.decode("latin1"))
    dtype, shape = np.dtype(fields["descr"]), tuple(fields["shape"])
    if dtype.hasobject:
        raise ValueError("object arrays are not read")
    return dtype, shape, math.prod(shape), "F" if fields["fortran_order"] else "C"


def decode_npy(payload: Payload) -> np.ndarray:
    """Array over the bytes of `payload`, without a copy (read-only). ValueError for anything but a plain array."""
    if payload[:6] != b"\x93NUMPY":  # (`np.load` would open archives and pickles too)
        raise ValueError("not an .npy array")
    if payload[:8] != b"\x93NUMPY\x01\x00" or len(payload) < 10:
        return np.load(io.BytesIO(payload), allow_pickle=False)
    (length,) = struct.unpack_from("<H", payload, 8)
    dtype, shape, count, order = _parse_npy_header(bytes(payload[10 : 10 + length]))
    return np.frombuffer(payload, dtype, count, offset=10 + length).reshape(shape, order=order)


def encode_json(value: Any) -> bytes:
    """UTF-8, sorted keys, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def decode_json(payload: Payload) -> Any:
    return _JSON.decode(str(payload, "utf-8"))


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


_JSON = json.JSONDecoder(parse_constant=_no_number)


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 4) as RGBA, uint16 (H, W) as 16-bit grey."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def decode_png(payload: Payload) -> np.ndarray:
    """Pixels of a picture. ValueError for one of more than `MOST_PIXELS`, which is not unpacked."""
    if payload[:8] != b"\x89PNG\r\n\x1a\n" or len(payload) < 24:
        raise ValueError("not a PNG picture")
    width, height = struct.unpack_from(">II", payload, 16)
    if width * height > MOST_PIXELS:
        raise ValueError(f"a picture of {width} x {height} pixels is too large")
    with Image.open(io.BytesIO(payload), formats=["PNG"]) as picture:
        pixels = np.asarray(picture)
        return pixels.astype(np.uint16) if picture.mode.startswith("I") else pixels


ENCODERS: dict[str, Callable[[Any], bytes]] = {"npy": encode_npy, "json": encode_json, "png": encode_png}
DECODERS: dict[str, Callable[[Payload], Any]] = {"npy": decode_npy, "json": decode_json, "png": decode_png}


def encode_member(suffix: str, value: Any) -> bytes:
    return ENCODERS[suffix.rpartition(".")[2]](value)


def decode_member(suffix: str, payload: Payload, decoder: Callable[[Payload], Any] | None = None) -> Any:
    """Value of a member by the ending of its name, or by its `decoder`. UserError if the bytes are not of that kind."""
    decoder = decoder or DECODERS.get(suffix.rpartition(".")[2])
    if decoder is None:
        raise UserError(f"member {suffix}: only .npy, .json and .png members can be read; write it as one of these.")
    try:
        return decoder(payload)
    except Exception as error:  # json, numpy and Pillow raise two dozen kinds for bytes that are wrong
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"member {suffix}: its bytes cannot be read ({reason}); prepare the shard again.") from error
