"""What the benchmarks on latents share: latents out of shards, and a Fréchet distance that few samples can bear."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Labels, Latent, Meta, Transform
from fieldforge.metrics.distribution import frechet_distance

ROOT = Path(__file__).parents[1]


def read_latents(folder: str | Path, split: str, transforms: list[Transform] | None = None) -> dict[str, Any]:
    """Samples of a split as one batch: `latent` (N, T, C), `meta`, `caption`, `class`, and what `transforms` add."""
    parts: dict[str, list[Any]] = defaultdict(list)
    wanted = transforms or [Latent(), Labels()]
    for batch in HeldOut(open_shards(folder, split), [*wanted, Meta()], seed=0, batch_size=64):
        for name, values in batch.items():
            parts[name].extend(values)
    return {**parts, "latent": torch.stack(parts["latent"])}


class LatentFrechet:
    """Fréchet distance to reference latents in the subspace of their first principal components.

    In units of the reference's variance there: 0 = the same Gaussian, 1 = as far as one point at the mean. A Gaussian's
    covariance in D dimensions wants several times D samples; the distance is biased upwards by what G samples miss, so
    that only numbers of equal G can be compared. `floor` is that of real latents.
    """

    def __init__(self, reference: Tensor, components: int):
        flat = reference.flatten(1).double()
        self.mean = flat.mean(dim=0)
        _, deviations, directions = torch.linalg.svd(flat - self.mean, full_matrices=False)
        self.directions = directions[:components].T  # (T · C, D)
        self.share = float(deviations[:components].square().sum() / deviations.square().sum())
        self.reference = self.project(reference)
        self.total = float(np.var(self.reference, axis=0, ddof=1).sum())

    def project(self, latents: Tensor) -> np.ndarray:
        """latents (G, T, C) → coordinates (G, D)."""
        return ((latents.flatten(1).double() - self.mean) @ self.directions).numpy()

    def __call__(self, coordinates: np.ndarray) -> float:
        return frechet_distance(coordinates, self.reference) / self.total


def write_section(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` on a page."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(start)
    _, mark, after = rest.partition(end)
    assert mark, f"{page} has no place {start} … {end}"
    page.write_text(f"{before}{start}\n{text}\n{end}{after}")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
