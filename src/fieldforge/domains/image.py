"""The domain of pictures: colour in the square, learned from picture files."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor

from fieldforge.conditioning.sample_pictures import view_of
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.image_transforms import Pixels
from fieldforge.data.schema import Sample
from fieldforge.data.transforms import Transform
from fieldforge.domains.domain import Outputs, Truth
from fieldforge.domains.picture_features import PictureFeatures
from fieldforge.domains.picture_mask import anew_tokens, picture_file, read_mask
from fieldforge.domains.picture_outputs import Kept, Pictures
from fieldforge.fields.base import Field, Params
from fieldforge.fields.picture import PictureGrid
from fieldforge.metrics.reconstruction import peak_signal_to_noise
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.ranges import Count
from fieldforge.ranges import Pixels as Side

log = logging.getLogger(__name__)


class ConditionPicture:
    """`image`: the stored picture, uint8 RGBA (H, W, 4)."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {"image": view_of(sample, 0)}


class ImageDomain(PictureFeatures):
    """Square pictures over white.

    Args:
        size: pixels along a side of the autoencoder's input.
        resolution: pixels along a side of outputs; None: `size`.
        batch: pictures per batch of the network that computes signatures.
    """

    noun = "picture"
    medium = "image"
    schema = IMAGE
    dimensions = 2
    heads = frozenset({"rgb"})
    shown_measures = ("psnr", "ssim", "perceptual")

    def __init__(self, size: Side = 64, resolution: Side | None = None, batch: Count = 32):
        self.size, self.resolution, self.batch = size, resolution, batch

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "resolution": self.resolution}

    def determining(self) -> dict[str, Any]:
        return {"size": self.size}

    def example(self) -> Sample:
        texts = dict.fromkeys(("id", "name", "class", "source", "licence", "creator", "split"), "")
        meta = {**texts, "captions": ["a"], "captions_by_language": {}, "tags": []}
        return {"meta.json": meta, "image.png": np.zeros((self.size, self.size, 3), np.uint8)}

    def input_transforms(self) -> list[Transform]:
        return [Pixels(self.size)]

    def truth_transforms(self) -> list[Transform]:
        return []  # `input` is the truth

    def condition_transforms(self, keys: set[str]) -> list[Transform]:
        return [ConditionPicture()] if "image" in keys else []

    def outputs(self, field: Field, params: Params, resolution: int | None = None) -> Pictures:
        """Pictures of at least `size`² pixels: the resolution of a sheet is meant for meshes, too low for pictures."""
        return Pictures(field, params, max(resolution or 0, self.resolution or self.size))

    def points_of_picture(self, resolution: int | None, size: int | None = None) -> int:
        return max(resolution or 0, self.resolution or self.size) ** 2

    def compare(self, outputs: Outputs, truth: Truth, size: int) -> list[list[Image.Image | None]]:
        true = [image_of(pixels).resize((size, size), Image.Resampling.NEAREST) for pixels in truth["input"]]
        return [[true[index], outputs[index].picture(size)] for index in range(len(outputs))]

    def measure(self, output: Outputs, truth: Truth) -> dict[str, float]:
        """`psnr` (dB) and `ssim` of sRGB in 0…1, and `perceptual` (`PerceptualDistance`), at `size` × `size` pixels."""
        assert isinstance(output, Pictures)
        true = ((truth["input"][0] + 1) / 2).permute(1, 2, 0).numpy()  # (H, W, 3)
        pixels = Pictures(output.field, output.params, self.size).pixels[0]
        with torch.no_grad():
            distance = self._distance(torch.from_numpy(pixels * 2 - 1).permute(2, 0, 1)[None], truth["input"])
        similarity = structural_similarity(
            pixels, true, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )  # the settings of Wang et al. 2004
        ratio = peak_signal_to_noise(pixels, true)
        return {"psnr": ratio, "ssim": float(similarity), "perceptual": float(distance)}

    def signatures(self, outputs: Outputs) -> list[np.ndarray]:
        """Features (1280,) of EfficientNet-Lite0, trained on ImageNet."""
        assert isinstance(outputs, Pictures)
        return self._features(torch.from_numpy(outputs.pixels).permute(0, 3, 1, 2))

    def stored_signatures(self, batch: Truth) -> list[np.ndarray]:
        return self._features((batch["input"] + 1) / 2)

    def read_file(self, path: Path, seed: int) -> dict[str, Tensor]:
        """`input` (1, 3, H, W) of a picture file. UserError for a missing or unreadable file."""
        return {"input": torch.from_numpy(square_of(path, self.size))[None]}

    def read_coarse(self, path: Path, shape: LatentShape) -> np.ndarray:
        """`coarse` (T, 3) of a picture file, see `Coarse`; another size is cropped to a square and resized.

        Raises:
            UserError: a missing or unreadable file.
        """
        side = math.isqrt(shape.tokens)
        height, width = picture_file(path, "from").pixels.shape[:2]
        if (height, width) != (side, side):
            log.warning("from=%s: of %d × %d pixels, %d × %d are made and enlarged", path, width, height, side, side)
        return square_of(path, side).reshape(3, -1).T.copy()

    def interpolated(self, coarse: Tensor) -> Pictures:
        """Bicubic interpolation of `coarse` (B, T, 3), see `Coarse`, in 8 bits as in picture programs."""
        side = math.isqrt(coarse.shape[1])
        small = ((coarse + 1) * 127.5).round().byte().unflatten(1, (side, side)).numpy()  # (B, h, w, 3)
        sides = (self.size, self.size)
        large = [np.asarray(Image.fromarray(one).resize(sides, Image.Resampling.BICUBIC)) for one in small]
        pixels = torch.from_numpy(np.stack(large)).flatten(1, 2) / 127.5 - 1  # (B, H · W, 3)
        return Pictures(PictureGrid(self.size), {"pixels": pixels}, self.size)

    def read_mask(self, path: Path, file: Path, shape: LatentShape) -> Tensor:
        """bool (T,): True at cells with any white in the mask. UserError for an unusable mask."""
        return torch.from_numpy(anew_tokens(read_mask(path, file, self.size), shape.grid, path))

    def pasted(self, outputs: Outputs, path: Path, file: Path) -> Pictures:
        """The outputs, with the pixels of the file's central square where the mask is black, resized to `resolution`.

        Raises:
            UserError: an unreadable file, or a mask of another size.
        """
        assert isinstance(outputs, Pictures)
        size = outputs.resolution
        own = (square_of(file, size).transpose(1, 2, 0) + 1) / 2  # (H, W, 3)
        return replace(outputs, kept=Kept(own, ~read_mask(path, file, size)))


def image_of(pixels: Tensor) -> Image.Image:
    """`input` (3, H, W) in -1…1 as a picture."""
    return Image.fromarray(((pixels.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy())


def square_of(path: Path, size: int) -> np.ndarray:
    """`input` (3, size, size) of the picture file `from=`. UserError for a missing or unreadable file."""
    pixels = picture_file(path, "from").pixels
    square: np.ndarray = Pixels(size)({"image.png": pixels}, np.random.default_rng(0))["input"]
    return square
