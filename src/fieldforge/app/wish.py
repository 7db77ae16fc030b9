"""What a visitor asks for, checked as data from outside."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np

from fieldforge.asking.requests import OPTIONS, Request
from fieldforge.asking.sampling_model import SamplingModel
from fieldforge.conditioning.framing import read_picture
from fieldforge.errors import UserError

MOST_GUIDANCE = 20.0
MOST_LETTERS = 1000
MOST_PIXELS = 25_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Pillow's readers of these start no other program."""


@dataclass(frozen=True)
class Picture:
    """A picture that was sent: the name of its file, which is shown and never opened, and pixels uint8 (H, W, 4)."""

    name: str
    pixels: np.ndarray

    @staticmethod
    def read(name: str, content: bytes) -> Picture:
        """UserError for a picture that cannot be used."""
        shown = name.replace("\\", "/").rpartition("/")[2][:60] or "picture"
        return Picture(shown, read_picture(io.BytesIO(content), shown, MOST_PIXELS, FORMATS))


@dataclass(frozen=True)
class Wish:
    """What one sample is to be.

    Args:
        caption, class_name, picture: conditions; None or "" for those that are not given.
        guidance: scale; None: the model's own, of several conditions by themselves.
        steps: of the sampler.
        seed: of the noise.
    """

    caption: str | None
    class_name: str | None
    picture: Picture | None
    guidance: float | None
    steps: int
    seed: int

    def check(self, max_steps: int) -> None:
        """UserError for a value out of range."""
        if self.caption is not None and len(self.caption) > MOST_LETTERS:
            raise UserError(f"the prompt has {len(self.caption)} letters: give at most {MOST_LETTERS}")
        if self.guidance is not None and not (math.isfinite(self.guidance) and 0 <= self.guidance <= MOST_GUIDANCE):
            raise UserError(f"guidance {self.guidance:g} is out of range: give a number from 0 to {MOST_GUIDANCE:g}")
        if not 1 <= self.steps <= max_steps:
            raise UserError(f"{self.steps} steps are out of range: give from 1 to {max_steps}")
        if not 0 <= self.seed < 2**62:
            raise UserError(f"seed {self.seed} is out of range: give a whole number of at least 0")

    def request(self, model: SamplingModel) -> Request:
        """The conditions of the sample. UserError for one that has no effect, or an unknown class.

        A prior makes a picture of a text, so that a text beside a picture would have no effect.
        """
        labels = {"caption": (self.caption or "").strip(), "class": self.class_name or ""}
        labels = {key: text for key, text in labels.items() if text}
        values: dict[str, object] = dict(labels)
        if self.picture is not None:
            labels["image"], values["image"] = self.picture.name, self.picture.pixels
        for key in labels.keys() - model.understood:
            raise UserError(f"this model was not trained with {OPTIONS[key].removesuffix('=')}: leave it out")
        idle = labels.keys() - model.guided.generator.keys - {"image"}
        if self.picture is not None and idle:
            names = " and ".join(OPTIONS[key].removesuffix("=") for key in sorted(idle))
            raise UserError(f"{names} would only make a picture, and one is given: leave either out")
        if model.guided.begins and self.picture is None:
            raise UserError(f"a {model.domain.noun} of this model begins with a picture: give one")
        model.guided.generator.check_class(labels.get("class"))
        return Request(values, labels)
