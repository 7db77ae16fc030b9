"""What sample.py is asked for: prompts, classes, pictures, from the command line or a file, checked before any work."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from fieldforge.conditioning.picture import check_not_blank, load_picture, remove_background
from fieldforge.conditioning.prompts import Prompt, read_prompts
from fieldforge.configuration.values import number
from fieldforge.errors import UserError
from fieldforge.generation import Generator

log = logging.getLogger(__name__)
GUIDANCE = 3.0
OPTIONS = {"caption": "prompt=", "class": "class=", "image": "image="}
"""What sources read → how it is asked for."""
SCALES = {"caption": "text", "image": "image", "class": "class"}
"""What sources read → the key of its own scale of guidance."""


@dataclass(frozen=True)
class Request:
    """What one shape is asked by; nothing at all is an unconditional one.

    values: what sources read (caption, class, image as RGBA pixels). said: the same for people, a picture by its path.
    """

    values: Mapping[str, Any]
    said: Mapping[str, str]

    @property
    def title(self) -> str:
        image = Path(self.said["image"]).name if "image" in self.said else ""
        return self.said.get("caption") or self.said.get("class") or image or "unconditional"


def requests(config: DictConfig, generator: Generator, understood: set[str]) -> list[Request]:
    """All that is asked for: every prompt with every class with every picture; useless lines of a file are told.

    Args:
        config: with `prompt`, `prompts`, `class`, `image`, `remove_background`.
        generator: its conditioner knows the classes.
        understood: what may be asked with: the generator's keys, and those of a prior before it.

    Raises:
        UserError: a request that cannot be met, or a file without one that can.
    """
    if config.prompt is not None and config.prompts is not None:
        raise UserError("both prompt= and prompts= are given: give the text or the file")
    if config.prompt is not None and not str(config.prompt).strip():
        raise UserError("prompt= is empty: write what to make, or leave it out for an unconditional sample")
    if not isinstance(config.remove_background, bool):
        raise UserError(f"remove_background={config.remove_background} must be true or false")
    if config.prompts is None:
        asked = [Prompt(0, None if config.prompt is None else str(config.prompt).strip())]
        complaints: list[str] = []
    else:
        found = read_prompts(config.prompts)
        asked, complaints = list(found.prompts), list(found.complaints)
    made = []
    for prompt in asked:
        try:
            for kind in [prompt.class_name] if prompt.class_name else listed(config, "class"):
                for image in [prompt.image] if prompt.image else listed(config, "image"):
                    given = {"caption": prompt.text, "class": kind, "image": image}
                    said = {key: str(value) for key, value in given.items() if value is not None}
                    made.append(request(said, generator, understood, config.remove_background))
        except UserError as error:
            if not prompt.line:
                raise
            complaints.append(f"{Path(config.prompts).name}, line {prompt.line}: {error}")
    if not made:
        raise UserError(f"prompts={config.prompts}: no line can be used; {complaints[0]}")
    for complaint in complaints:
        log.warning("%s (left out)", complaint)
    return made


def request(said: Mapping[str, str], generator: Generator, understood: set[str], cut_out: bool = False) -> Request:
    """A request that the model can meet. UserError for what it was not trained with, unknown classes, bad pictures."""
    for key in said.keys() - understood:
        known = ways(understood) or "nothing, it is unconditional"
        raise UserError(f"{OPTIONS[key]} is given, but this model was not trained with it: it understands {known}")
    if "image" in said and (unread := said.keys() - generator.keys):
        raise UserError(
            f"{' and '.join(OPTIONS[key] for key in sorted(unread))} would only make a picture (prior=), and image= is "
            f"one: leave either out"
        )
    values: dict[str, Any] = dict(said)
    generator.check_class(said.get("class"))
    if "image" in said:
        pixels = load_picture(said["image"])
        if cut_out:
            pixels = remove_background(pixels)
            check_not_blank(pixels, f"image={said['image']} without its background")
        values["image"] = pixels
    return Request(values, said)


def ways(understood: Collection[str]) -> str:
    """How to ask for what is understood."""
    return " or ".join(OPTIONS[key] for key in sorted(understood))


def listed(config: DictConfig, key: str) -> Sequence[Any]:
    """The values of a list, or the one value. UserError for an empty list."""
    value = config.get(key)
    if isinstance(value, ListConfig) and not value:
        raise UserError(f"{key}=[] names nothing: give {key}= something, or leave it out")
    return list(value) if isinstance(value, ListConfig) else [value]


def scales(config: DictConfig, understood: Collection[str]) -> float | dict[str, float]:
    """`guidance`: a number, or, where `guidance.text`, `.image` or `.class` is given, one for each of what is read.

    Raises UserError for something that is no number, or a scale of what the model does not read.
    """
    if not isinstance(config.guidance, DictConfig):
        return number(config, "guidance")
    common = GUIDANCE if config.guidance.all is None else number(config, "guidance.all")
    own = {key: name for key, name in SCALES.items() if config.guidance[name] is not None}
    for key, name in own.items():
        if key not in understood:
            known = ", ".join(f"guidance.{SCALES[key]}" for key in sorted(understood)) or "none, it is unconditional"
            raise UserError(f"guidance.{name} is given, but this model was not trained with it: its scales are {known}")
    if not own:
        return common
    return {
        key: number(config, f"guidance.{own[key]}") if key in own else common for key in SCALES if key in understood
    }


@dataclass(frozen=True)
class Job:
    """One shape: `weight` of the way from (request, seed) to (end, end_seed)."""

    request: Request
    seed: int
    end: Request
    end_seed: int
    weight: float

    @property
    def keys(self) -> set[str]:
        return set(self.request.values)

    @property
    def title(self) -> str:
        """Of the request; on a way: where from, where to, how far."""
        if self.end is self.request and self.end_seed == self.seed:
            return self.request.title
        end = f"seed {self.end_seed}" if self.end is self.request else self.end.title
        return f"{self.request.title} to {end} {self.weight:.2f}"


def jobs(
    wanted: Sequence[Request], ends: Sequence[Request], seed: int, end_seed: int, n: int, frames: int
) -> list[Job]:
    """`n` times each request, with seeds from `seed` on; between request and end, `frames` of them from 0 to 1."""
    return [
        Job(request, seed + index, end, end_seed + index, frame / max(1, frames - 1))
        for request, end in zip(wanted, ends, strict=True)
        for index in range(n)
        for frame in range(frames)
    ]


def batches(all_jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """The jobs in order, at most `size` together, only those together that are asked with the same."""
    made: list[list[Job]] = []
    for job in all_jobs:
        if not made or len(made[-1]) == size or made[-1][0].keys != job.keys:
            made.append([])
        made[-1].append(job)
    return made
