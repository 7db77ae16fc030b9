"""Pictures of every number type become 8 bits of sRGB and alpha; what is not read is refused by its name."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from fieldforge.readers.file_store import AssetError
from fieldforge.readers.texture import decode_texture

GREY = np.full((4, 6), 87 / 255)
ORANGE = np.tile(np.array([220, 30, 30]) / 255, (4, 6, 1))


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def grey_alpha_16() -> bytes:
    """PNG of 16-bit grey and alpha, which pillow cannot write."""
    rows = (b"\0" + struct.pack(">HH", 87 * 257, 128 * 257) * 6) * 4
    header = struct.pack(">IIBBBBB", 6, 4, 16, 4, 0, 0, 0)
    payload = b"\x89PNG\r\n\x1a\n"
    for tag, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        payload += struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    return payload


def test_grey_of_every_number_type():
    whole = (GREY * 65535).astype(np.uint16)
    for payload in (
        encode(Image.fromarray(whole), "PNG"),
        encode(Image.fromarray(whole), "TIFF"),
        encode(Image.fromarray(whole.astype(np.int32)), "PPM"),
        encode(Image.fromarray(whole.astype(np.int32)), "TIFF"),
        encode(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
        tiff(GREY.astype(np.float64)),
        tiff((GREY * (2**32 - 1)).astype(np.uint32)),
    ):
        np.testing.assert_array_equal(decode_texture(payload), np.tile([87, 87, 87, 255], (4, 6, 1)))


def test_colours_of_more_than_8_bits():
    for payload in (
        tiff(ORANGE.astype(np.float32), photometric="rgb"),
        tiff(ORANGE.astype(np.float16), photometric="rgb", bigtiff=True),
        tiff((ORANGE * 65535).astype(np.uint16), photometric="rgb"),
        tiff(np.moveaxis((ORANGE * 65535).astype(np.uint16), -1, 0), photometric="rgb", planarconfig="separate"),
    ):
        np.testing.assert_array_equal(decode_texture(payload), np.tile([220, 30, 30, 255], (4, 6, 1)))


def test_floats_beyond_their_range_are_clipped():
    values = np.array([[-1.0, 0.5, 7.0, np.nan, np.inf]], np.float32)
    assert decode_texture(encode(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255, 0, 255]


def test_alpha_of_every_kind():
    assert decode_texture(grey_alpha_16())[0, 0].tolist() == [87, 87, 87, 128]
    palette = Image.new("RGB", (4, 4), (255, 0, 0)).convert("P")
    assert decode_texture(encode(palette, "PNG", transparency=bytes(256)))[0, 0].tolist() == [255, 0, 0, 0]
    ink = Image.new("RGB", (8, 8), (220, 30, 30)).convert("CMYK")
    assert decode_texture(encode(ink, "TIFF"))[0, 0].tolist() == [220, 30, 30, 255]
    assert decode_texture(encode(Image.new("1", (4, 4), 1), "PNG"))[0, 0].tolist() == [255] * 4


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(80), "KTX2"),
        (b"DDS " + bytes(200), "DDS"),
        (b"sB\x13\x00" + bytes(80), "Basis"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "EPS"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"", "no picture"),
        (b"hello" * 9, "no picture"),
        (b"II+\0\x08\0\0\0" + b"\xff" * 99, "cannot be read"),
        (b"MM\0*" + b"\xff" * 99, "cannot be read"),
        (tiff(np.zeros((4, 4, 4), np.float32), photometric="separated"), "SEPARATED"),
        (tiff(np.zeros((1, 2**27), np.uint8), compression="zlib"), "pixels"),
    ],
)
def test_what_is_not_read_is_refused_by_name(payload: bytes, reason: str):
    with pytest.raises(AssetError, match=reason):
        decode_texture(payload)
