"""Requests of samples by prompts, classes and pictures, each checked before any work."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fieldforge.asking.settings import SamplingSettings
from fieldforge.conditioning.framing import check_not_blank, load_picture, remove_background
from fieldforge.conditioning.prompts import Prompt, read_prompts
from fieldforge.errors import UserError
from fieldforge.generation import Generator

log = logging.getLogger(__name__)
OPTIONS = {"caption": "prompt=", "class": "class=", "image": "image=", "coarse": "from="}
"""What sources read → how it is asked for."""


@dataclass(frozen=True)
class Request:
    """The conditions of one sample; without any the sample is unconditional.

    Args:
        values: values for the sources (caption, class, image as RGBA pixels).
        labels: texts for people, a picture by its path; `from` is the file of super-resolution.
    """

    values: Mapping[str, Any]
    labels: Mapping[str, str]

    @property
    def title(self) -> str:
        files = [Path(self.labels[key]).name for key in ("image", "from", "views") if key in self.labels]
        return next((self.labels[key] for key in ("caption", "class") if self.labels.get(key)), None) or (
            files[0] if files else "unconditional"
        )


def requests_of(settings: SamplingSettings, generator: Generator, understood: Collection[str]) -> list[Request]:
    """Every prompt with every class with every picture; a warning names each line of a file that cannot be used.

    Args:
        settings: of the command.
        generator: its conditioner checks the classes.
        understood: the possible condition keys: the generator's, and those of its prior.

    Raises:
        UserError: a request that the model cannot meet, or a file without a usable one.
    """
    prompts, complaints = prompts_of(settings)
    requests: list[Request] = []
    for prompt in prompts:
        try:
            requests += [
                request(labels, generator, understood, settings.remove_background)
                for labels in combinations(prompt, settings)
            ]
        except UserError as error:
            if not prompt.line:
                raise
            complaints.append(f"{Path(str(settings.prompts)).name}, line {prompt.line}: {error}")
    if not requests:
        raise UserError(f"prompts={settings.prompts}: no line can be used; {complaints[0]}")
    if settings.remove_background and not any("image" in one.values for one in requests):
        raise UserError("remove_background=true has no effect without a picture: give image=, or leave it out")
    for complaint in complaints:
        log.warning("%s (left out)", complaint)
    if "coarse" in understood and settings.from_ is not None:
        return [replace(one, labels={**one.labels, "from": settings.from_}) for one in requests]
    return requests


def prompts_of(settings: SamplingSettings) -> tuple[list[Prompt], list[str]]:
    """The prompts of the file, or the one prompt; and a sentence for each unusable line."""
    if settings.prompts is None:
        return [Prompt(0, None if settings.prompt is None else settings.prompt.strip())], []
    file = read_prompts(settings.prompts)
    return list(file.prompts), list(file.complaints)


def combinations(prompt: Prompt, settings: SamplingSettings) -> list[dict[str, str]]:
    """Labels of each request of a prompt: a line's own class and picture override the command's."""
    classes = [prompt.class_name] if prompt.class_name else settings.classes
    images = [prompt.image] if prompt.image else settings.images
    every = [{"caption": prompt.text, "class": kind, "image": image} for kind in classes for image in images]
    return [{key: str(value) for key, value in one.items() if value is not None} for one in every]


def request(
    labels: Mapping[str, str], generator: Generator, understood: Collection[str], cut_out: bool = False
) -> Request:
    """A request, checked against the model.

    Raises:
        UserError: a condition that the model does not read, an unknown class, a bad picture.
    """
    for key in labels.keys() - understood:
        choices = ways(understood) or "nothing, it is unconditional"
        raise UserError(f"{OPTIONS[key]} is given, but this model was not trained with it: it understands {choices}")
    if "image" in labels and (unread := labels.keys() - generator.keys - {"image"}):
        raise UserError(
            f"{' and '.join(OPTIONS[key] for key in sorted(unread))} would only make a picture (prior=), and image= is "
            f"one: leave either out"
        )
    values: dict[str, Any] = dict(labels)
    generator.check_class(labels.get("class"))
    if "image" in labels:
        pixels = load_picture(labels["image"])
        if cut_out:
            pixels = remove_background(pixels)
            check_not_blank(pixels, f"image={labels['image']} without its background")
        values["image"] = pixels
    return Request(values, labels)


def ways(understood: Collection[str]) -> str:
    """The options of sample.py for the possible condition keys."""
    return " or ".join(OPTIONS[key] for key in sorted(understood) if key in OPTIONS)
