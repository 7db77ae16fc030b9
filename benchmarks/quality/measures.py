"""One sampler at one number of evaluations: what is measured of it, and what follows from many of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from latent_quality import LatentFrechet
from quality.samples import Samples
from quality.shapes import Shapes

from fieldforge.diffusion.sampler import Sampler


@dataclass
class Cell:
    """One sampler at one number of evaluations, at most `budget`."""

    sampler: str
    budget: int
    evaluations: int
    coordinates: np.ndarray  # (G, D)
    frechet: float
    accuracy: float = math.nan

    def __str__(self) -> str:
        return f"{self.sampler} {self.evaluations}: Fréchet {self.frechet:.4f}, 1-NNA {self.accuracy:.0%}"

    @property
    def figures(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "sampler": self.sampler,
            "evaluations": self.evaluations,
            "frechet": self.frechet,
            "nearest_neighbour_accuracy": self.accuracy,
        }


@dataclass(frozen=True)
class Measures:
    """Both measures of one model's samples."""

    samples: Samples
    frechet: LatentFrechet
    shapes: Shapes

    def __call__(self, name: str, budget: int, sampling: Sampler) -> Cell:
        latents, calls = self.samples(sampling)
        coordinates = self.frechet.project(latents)
        return Cell(name, budget, calls, coordinates, self.frechet(coordinates), self.shapes.accuracy(latents))


def verdict(cells: list[Cell], frechet: LatentFrechet) -> str:
    """The sampler that is best at no more than 16 evaluations, and how far each is from where it ends."""
    few = min((cell for cell in cells if cell.evaluations <= 16), key=lambda cell: cell.frechet)
    lines = [f"Nearest at no more than 16 evaluations: {few.sampler} with {few.evaluations}."]
    for name in dict.fromkeys(cell.sampler for cell in cells):
        own = [cell for cell in cells if cell.sampler == name]
        most = max(own, key=lambda cell: cell.evaluations)
        some = max((cell for cell in own if cell.evaluations <= 16), key=lambda cell: cell.evaluations)
        lines.append(
            f"- `{name}`: {change(frechet, some, most)} at {some.evaluations} of {most.evaluations} evaluations"
        )
    return "\n".join([lines[0], "How far the distance still was from where it ended:", "", *lines[1:]])


def change(frechet: LatentFrechet, cell: Cell, reference: Cell) -> str:
    """By how much the distance of one is larger than the other's, in per cent with its deviation."""
    spread = deviation_of_ratio(frechet, cell.coordinates, reference.coordinates)
    return f"{cell.frechet / reference.frechet - 1:+.1%} (± {spread:.1%})"


def deviation_of_ratio(frechet: LatentFrechet, few: np.ndarray, many: np.ndarray, draws: int = 200) -> float:
    """Standard deviation of the quotient of two Fréchet distances, over resamplings of the samples (paired)."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(draws):
        chosen = rng.integers(len(few), size=len(few))
        ratios.append(frechet(few[chosen]) / frechet(many[chosen]))
    return float(np.std(ratios))
