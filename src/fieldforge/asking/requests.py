"""Requests of samples by prompts, classes and pictures, each checked before any work."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fieldforge.asking.settings import SamplingSettings
from fieldforge.conditioning.framing import check_not_blank, load_picture, remove_background
from fieldforge.conditioning.prompts import Prompt, read_prompts
from fieldforge.errors import UserError
from fieldforge.generation import Generator

SEPARATOR = "\n"  # between the paths of pictures that lead together, in a label
log = logging.getLogger(__name__)
OPTIONS = {"caption": "prompt=", "class": "class=", "image": "image=", "images": "image=", "coarse": "from="}
OPTIONS |= {key: f"{key}=" for key in ("points", "proportions", "sharpness", "symmetry")}
"""What sources read → how it is asked for."""


@dataclass(frozen=True)
class Request:
    """The conditions of one sample; without any the sample is unconditional.

    Args:
        values: values for the sources (caption, class, image as RGBA pixels, points and numbers as arrays).
        labels: texts for people, a picture by its path; `from` is the file that is varied, completed or enlarged.
    """

    values: Mapping[str, Any]
    labels: Mapping[str, str]

    def with_values(self, more: Mapping[str, Any]) -> Request:
        return replace(self, values={**self.values, **more})

    @property
    def title(self) -> str:
        keys = [key for key in ("image", "images", "from", "views") if key in self.labels]
        files = [" and ".join(Path(path).name for path in self.labels[key].split(SEPARATOR)) for key in keys]
        return next((self.labels[key] for key in ("caption", "class") if self.labels.get(key)), None) or (
            files[0] if files else "unconditional"
        )


def requests_of(
    settings: SamplingSettings, generator: Generator, understood: Collection[str], points: np.ndarray | None = None
) -> list[Request]:
    """Every prompt with every class with every picture; a warning names each line of a file that cannot be used.

    Args:
        settings: of the command. Its numbers are asked of every request.
        generator: its conditioner checks the classes.
        understood: the possible condition keys: the generator's, and those of its prior.
        points: (N, 3), asked of every request; None: none are.

    Raises:
        UserError: a request that the model cannot meet, or a file without a usable one.
    """
    prompts, complaints = prompts_of(settings)
    shape = shape_values(settings, understood, points)
    requests: list[Request] = []
    for prompt in prompts:
        try:
            requests += [
                request(labels, generator, understood, settings.remove_background).with_values(shape)
                for labels in combinations(prompt, settings, "images" in understood)
            ]
        except UserError as error:
            if not prompt.line:
                raise
            complaints.append(f"{Path(str(settings.prompts)).name}, line {prompt.line}: {error}")
    if not requests:
        raise UserError(f"prompts={settings.prompts}: no line can be used; {complaints[0]}")
    if settings.remove_background and not any({"image", "images"} & one.values.keys() for one in requests):
        raise UserError("remove_background=true has no effect without a picture: give image=, or leave it out")
    for complaint in complaints:
        log.warning("%s (left out)", complaint)
    if settings.from_ is not None:
        return [replace(one, labels={**one.labels, "from": settings.from_}) for one in requests]
    return requests


def shape_values(
    settings: SamplingSettings, understood: Collection[str], points: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Numbers and points that are asked for, by the key of their source. UserError where the model reads none."""
    values = {key: np.array(numbers, np.float32) for key, numbers in settings.numbers.items()}
    values |= {} if points is None else {"points": points}
    for key in values.keys() - understood:
        raise unread(key, understood)
    return values


def unread(key: str, understood: Collection[str]) -> UserError:
    choices = ways(understood) or "nothing, it is unconditional"
    return UserError(f"{OPTIONS[key]} is given, but this model was not trained with it: it understands {choices}")


def prompts_of(settings: SamplingSettings) -> tuple[list[Prompt], list[str]]:
    """The prompts of the file, or the one prompt; and a sentence for each unusable line."""
    if settings.prompts is None:
        return [Prompt(0, None if settings.prompt is None else settings.prompt.strip())], []
    file = read_prompts(settings.prompts)
    return list(file.prompts), list(file.complaints)


def combinations(prompt: Prompt, settings: SamplingSettings, together: bool = False) -> list[dict[str, str]]:
    """Labels of each request of a prompt: a line's own class and picture override the command's.

    together: all pictures lead each request, for a model that reads several; else each is a request of its own.
    """
    classes = [prompt.class_name] if prompt.class_name else settings.classes
    images = [prompt.image] if prompt.image else settings.images
    if together:
        images = [SEPARATOR.join(image for image in images if image is not None) or None]
    key = "images" if together else "image"
    every = [{"caption": prompt.text, "class": kind, key: image} for kind in classes for image in images]
    return [{key: str(value) for key, value in one.items() if value is not None} for one in every]


def request(
    labels: Mapping[str, str], generator: Generator, understood: Collection[str], cut_out: bool = False
) -> Request:
    """A request, checked against the model.

    Raises:
        UserError: a condition that the model does not read, an unknown class, a bad picture.
    """
    for key in labels.keys() - understood:
        raise unread(key, understood)
    if "image" in labels and (idle := labels.keys() - generator.keys - {"image"}):
        raise UserError(
            f"{' and '.join(OPTIONS[key] for key in sorted(idle))} would only make a picture (prior=), and image= is "
            f"one: leave either out"
        )
    values: dict[str, Any] = dict(labels)
    generator.check_class(labels.get("class"))
    if "image" in labels:
        values["image"] = pixels_of_file(labels["image"], cut_out)
    if "images" in labels:
        values["images"] = [pixels_of_file(image, cut_out) for image in labels["images"].split(SEPARATOR)]
    return Request(values, labels)


def pixels_of_file(image: str, cut_out: bool) -> np.ndarray:
    """RGBA pixels of a picture file. UserError for a bad picture."""
    pixels = load_picture(image)
    if cut_out:
        pixels = remove_background(pixels)
        check_not_blank(pixels, f"image={image} without its background")
    return pixels


def ways(understood: Collection[str]) -> str:
    """The options of sample.py for the possible condition keys."""
    return " or ".join(OPTIONS[key] for key in sorted(understood) if key in OPTIONS)
