"""Outputs of the picture domain, and their files. B pictures, H/W pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fieldforge.fields.base import Field, Params
from fieldforge.fields.picture import pixel_centres
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.training.processes.side_files import side_file


@dataclass(frozen=True)
class Kept:
    """Pixels of a known picture that replace the field's.

    Args:
        pixels: float32 (H, W, 3), sRGB in 0…1.
        where: bool (H, W), True at the pixels to replace.
    """

    pixels: np.ndarray
    where: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """B pictures: a field with their parameters, queried at resolution² pixel centres.

    kept: pixels that replace the field's in each of the pictures.
    """

    field: Field
    params: Params  # name → (B, rows, width)
    resolution: int
    kept: Kept | None = None

    is_empty = False

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    def __getitem__(self, index: int) -> Pictures:
        one = {name: value[index : index + 1] for name, value in self.params.items()}
        return replace(self, params=one)

    @cached_property
    def pixels(self) -> np.ndarray:
        """Pixels float32 (B, H, W, 3), sRGB in 0…1."""
        rows = next(iter(self.params.values()))
        points = pixel_centres(self.resolution, rows.device).expand(len(rows), -1, -1)  # (B, H · W, 2)
        with torch.no_grad():
            rgb = self.field.query(points, self.params)["rgb"].clamp(0, 1)  # (B, H · W, 3)
        drawn = rgb.float().cpu().numpy().reshape(len(rows), self.resolution, self.resolution, 3)
        return drawn if self.kept is None else np.where(self.kept.where[..., None], self.kept.pixels, drawn)

    @property
    def image(self) -> Image.Image:
        """One picture, RGB, at its resolution."""
        return Image.fromarray((self.pixels[0] * 255).round().astype(np.uint8))

    def picture(self, size: int) -> Image.Image:
        """One picture, RGBA, size × size pixels: nearest neighbour for enlargement, Lanczos for reduction."""
        grows = size >= self.resolution
        return self.image.convert("RGBA").resize(
            (size, size), Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS
        )

    def media(self) -> tuple[str, bytes] | None:
        """None: the gallery shows the picture alone."""
        return None

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        """Write one picture as PNG at its resolution, `<name>_full.png`; None for a file that could not be written."""
        files: dict[str, str | None] = {"picture": None}
        with side_file(folder / f"{name}_full.png"):
            write_picture(self.image, folder / f"{name}_full.png")
            files["picture"] = f"{name}_full.png"
        return files
