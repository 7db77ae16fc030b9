"""Picture files of every mode come out with the colours that their formats define."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from fieldforge.data.picture_files import read_picture

COLORS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [250, 120, 10]], [[9, 9, 9], [200, 200, 200]]], np.uint8)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(payload: bytes) -> np.ndarray:
    return read_picture(payload).pixels


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "WEBP"])
def test_lossless_formats_come_out_as_they_are(kind: str):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(COLORS), kind, **options)), COLORS)


@pytest.mark.parametrize(("orientation", "turned"), [
    (1, lambda a: a), (2, lambda a: a[:, ::-1]), (3, lambda a: a[::-1, ::-1]), (4, lambda a: a[::-1]),
    (5, lambda a: a.swapaxes(0, 1)), (6, lambda a: np.rot90(a, -1)), (7, lambda a: np.rot90(a, 2).swapaxes(0, 1)),
    (8, lambda a: np.rot90(a)),
])  # fmt: skip
def test_pictures_stand_upright_as_their_camera_says(orientation: int, turned):
    exif = Image.Exif()
    exif[0x112] = orientation
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(COLORS), "PNG", exif=exif)), turned(COLORS))


def test_palettes_grey_and_one_bit():
    palette = Image.fromarray(COLORS).quantize(8)
    np.testing.assert_array_equal(pixels(saved(palette, "PNG")), np.asarray(palette.convert("RGB")))
    grey = np.array([[0, 7], [200, 255]], np.uint8)
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, -1))
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(pixels(saved(bits, "PNG"))[0, :, 0], [0, 255])


def test_sixteen_bits_are_parts_of_their_range():
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(values), "PNG"))[0, :, 0], [0, 1, 128, 255])


def test_alpha_is_kept_where_there_is_some_and_goes_where_all_is_opaque():
    rgba = np.concatenate([COLORS, np.full((3, 2, 1), 255, np.uint8)], 2)
    assert pixels(saved(Image.fromarray(rgba), "PNG")).shape == (3, 2, 3)
    rgba[0, 0, 3] = 12
    np.testing.assert_array_equal(pixels(saved(Image.fromarray(rgba), "PNG")), rgba)
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(pixels(saved(palette, "PNG", transparency=1)), [[[10, 20, 30, 255], [40, 50, 60, 0]]])


def test_inks_are_colours():
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    picture = read_picture(saved(inks, "JPEG", quality=95))
    assert "inks" in picture.notes[0]
    np.testing.assert_allclose(picture.pixels[8, 8], [255, 0, 0], atol=6)


def test_profiles_are_followed():
    """Grey axis of a linear-light profile: 0.2158 in linear light is 0.5 in sRGB (IEC 61966-2-1)."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_picture(saved(Image.fromarray(COLORS), "PNG", icc_profile=profile))
    np.testing.assert_array_equal(same.pixels, COLORS)
    broken = read_picture(saved(Image.fromarray(COLORS), "PNG", icc_profile=b"no profile"))
    np.testing.assert_array_equal(broken.pixels, COLORS)
    assert "profile cannot be used" in broken.notes[0]


def test_of_moving_pictures_the_first_frame_is_taken_and_noted():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    picture = read_picture(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(picture.pixels[0, 0], [255, 0, 0])
    assert "moves" in picture.notes[0]


def test_too_many_pixels_are_not_unpacked_and_cut_files_not_half_read():
    payload = saved(Image.new("1", (300, 300)), "PNG")
    with pytest.raises(ValueError, match="300 x 300 pixels, which is too many"):
        read_picture(payload, most_pixels=89_999)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for kind in ("JPEG", "PNG"):
        with pytest.raises((OSError, ValueError, SyntaxError)):
            read_picture(saved(Image.fromarray(noise), kind)[:-900])
