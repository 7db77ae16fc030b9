"""Pictures as an autoencoder takes them."""

import numpy as np
import pytest

from fieldforge.data.image_transforms import Pixels, over_white
from fieldforge.errors import UserError


def apply(transform: Pixels, pixels: np.ndarray, seed: int = 0) -> np.ndarray:
    return transform({"image.png": pixels}, np.random.default_rng(seed))["input"]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def test_pixels_of_the_right_size_come_back_exactly():
    pixels = noise(8, 8, 3)
    result = apply(Pixels(8), pixels)
    assert (result.shape, result.dtype) == ((3, 8, 8), np.float32)
    np.testing.assert_array_equal(np.round((result + 1) * 127.5).astype(np.uint8), pixels.transpose(2, 0, 1))
    assert apply(Pixels(8), np.full((8, 8, 3), 255, np.uint8)).max() == 1.0
    assert apply(Pixels(8), np.zeros((8, 8, 3), np.uint8)).min() == -1.0


def test_alpha_over_white_is_rounded_to_the_nearest():
    color, alpha = (each.ravel() for each in np.meshgrid(np.arange(256), np.arange(256)))
    pixels = np.stack([color, color, color, alpha], -1).astype(np.uint8)[None]
    share = alpha / 255
    np.testing.assert_array_equal(over_white(pixels)[0, :, 0], np.floor(color * share + 255 * (1 - share) + 0.5))


def test_the_middle_is_taken_of_longer_pictures():
    pixels = noise(4, 10, 3)
    for picture, middle in ((pixels, pixels[:, 3:7]), (pixels.swapaxes(0, 1), pixels.swapaxes(0, 1)[3:7])):
        np.testing.assert_array_equal(apply(Pixels(4), picture), apply(Pixels(4), np.ascontiguousarray(middle)))


def test_resizing_is_anti_aliased():
    """A checkerboard of single pixels is grey from afar; nearest neighbours would be black or white."""
    board = np.indices((64, 64)).sum(0) % 2 * 255
    result = apply(Pixels(8), np.stack([board] * 3, -1).astype(np.uint8))
    assert np.abs(result).max() < 0.02


def test_mirror_images_come_half_of_the_time_and_parts_are_parts():
    pixels = noise(8, 8, 3)
    plain = apply(Pixels(8), pixels)
    mirrored = [bool((apply(Pixels(8, flip=True), pixels, seed) != plain).any()) for seed in range(400)]
    assert 150 < sum(mirrored) < 250
    flipped = apply(Pixels(8, flip=True), pixels, mirrored.index(True))
    np.testing.assert_array_equal(flipped, plain[..., ::-1])
    ramp = np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], 128, 0).repeat(3, 2)  # (128, 128, 3)
    for seed in range(50):
        row = (apply(Pixels(16, crop=0.5), ramp, seed)[0, 8] + 1) * 127.5
        assert 0.5 * 15 / 16 * 254 - 8 <= row[-1] - row[0] <= 254  # between a half and all of the ramp
    assert (apply(Pixels(16, crop=0.5), ramp, 3) == apply(Pixels(16, crop=0.5), ramp, 3)).all()


@pytest.mark.parametrize("crop", [0, -1, 1.5])
def test_a_part_that_is_none_is_refused(crop: float):
    with pytest.raises(UserError, match="crop="):
        Pixels(8, crop=crop)
