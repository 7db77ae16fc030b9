"""Jobs: every sample to draw, in order, and their batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fieldforge.asking.requests import Request
from fieldforge.asking.settings import MOST, SamplingSettings
from fieldforge.errors import UserError


@dataclass(frozen=True)
class Job:
    """One sample: the interpolation with `weight` from (request, seed) to (end, end_seed)."""

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
        """The request's title; for an interpolation: start, end and weight."""
        if self.end is self.request and self.end_seed == self.seed:
            return self.request.title
        end = f"seed {self.end_seed}" if self.end is self.request else self.end.title
        return f"{self.request.title} to {end} {self.weight:.2f}"


def jobs_of(settings: SamplingSettings, requests: Sequence[Request]) -> list[Job]:
    """The jobs of a command.

    Raises:
        UserError: an interpolation from a request without a prompt, or without a change; too many samples.
    """
    samples = len(requests) * settings.n * settings.frame_count
    if samples > MOST:
        raise UserError(
            f"n={settings.n} makes {samples} samples, and {MOST} are the most of one command: give a smaller n"
        )
    ends = list(requests) if settings.to is None else [toward(start, settings.to.strip()) for start in requests]
    end_seed = settings.seed if settings.to_seed is None else settings.to_seed
    idle = [start for start, end in zip(requests, ends, strict=True) if start.labels == end.labels]
    if settings.is_way and end_seed == settings.seed and idle:
        raise UserError(
            f"to={settings.to} is where the way from {idle[0].title} begins: give another end, or leave it out"
        )
    return jobs(requests, ends, settings.seed, end_seed, settings.n, settings.frame_count)


def toward(start: Request, prompt: str) -> Request:
    """The request with another prompt. UserError for a request without a prompt."""
    if "caption" not in start.labels:
        raise UserError("to= is the second of two prompts: give the first one as prompt=")
    return replace(start, values={**start.values, "caption": prompt}, labels={**start.labels, "caption": prompt})


def jobs(
    starts: Sequence[Request], ends: Sequence[Request], seed: int, end_seed: int, n: int, frames: int
) -> list[Job]:
    """`n` times each request, with seeds from `seed` on; between start and end, `frames` of them from 0 to 1."""
    return [
        Job(request, seed + index, end, end_seed + index, frame / max(1, frames - 1))
        for request, end in zip(starts, ends, strict=True)
        for index in range(n)
        for frame in range(frames)
    ]


def batches(all_jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Batches of at most `size` jobs, in order; the jobs of a batch share their condition keys."""
    parts: list[list[Job]] = []
    for job in all_jobs:
        if not parts or len(parts[-1]) == size or parts[-1][0].keys != job.keys:
            parts.append([])
        parts[-1].append(job)
    return parts
