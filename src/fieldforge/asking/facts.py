"""Facts about a command of sample.py for reports and folder names, besides prompts, classes and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fieldforge.asking.guidance import Guided, scale_by_name, scale_text
from fieldforge.asking.requests import Request
from fieldforge.asking.settings import SamplingSettings
from fieldforge.storage.file_names import slug

PATHS = ("from", "points", "mask", "prior", "guided_by_run")
"""Facts whose last part stands in the name of a folder."""


def facts_of(settings: SamplingSettings, guided: Guided) -> dict[str, Any]:
    """Facts that all samples of the command share."""
    arithmetic = guided.generator.arithmetic
    return {
        "guidance": scale_by_name(guided.scale),
        "steps": guided.generator.sampler.steps,
        **({} if arithmetic is None else arithmetic.facts()),
        **options(settings, guided),
    }


def options(settings: SamplingSettings, guided: Guided) -> dict[str, Any]:
    """The set options besides scale, prompts, classes and pictures."""
    values: dict[str, Any] = {"to": settings.to, "to_seed": settings.to_seed, "from": settings.from_}
    values |= {"mask": settings.mask, "prior": settings.prior, "ema_length": settings.ema_length}
    values |= {"points": settings.points} | {key: numbers_text(value) for key, value in settings.numbers.items()}
    facts: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    arithmetic = {"precision": settings.precision, "matmul": settings.matmul}
    facts |= {key: value for key, value in arithmetic.items() if value != "auto"}
    if settings.from_ is not None:
        facts["strength"] = (settings.strength or 0.0) if guided.enlarges else settings.variation_strength
    facts |= settings.clip_wishes | ({"frames": settings.clip_frames} if settings.clip_frames else {})
    facts |= {key: True for key in ("complete", "paste") if getattr(settings, key)}
    if settings.prior is not None:
        facts["prior_guidance"] = settings.prior_scale
    if settings.adapters:
        facts["adapter"] = [f"{weight:g} {folder}" for folder, weight in settings.weighted_adapters]
    if settings.sampler is not None:
        facts["sampler"] = str(settings.sampler.solver._target_).rpartition(".")[2]
    return facts | settings.guidance.facts()


def numbers_text(values: Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def folder_name(requests: Sequence[Request], settings: SamplingSettings, guided: Guided) -> str:
    """Name of the result folder: the same for the same call."""
    more = f"-and-{len(requests) - 1}-more" if len(requests) > 1 else ""
    texts = {key: Path(value).stem if key in PATHS else str(value) for key, value in options(settings, guided).items()}
    further = "".join(f"_{key.replace('_', '-')}-{slug(text)}" for key, text in texts.items())
    scale = scale_text(guided.scale).replace(" ", "-")
    return f"{slug(requests[0].title)}{more}{further}_g{scale}_s{settings.seed}"
