"""A domain's counts of generated samples, relative to those of the nearest training samples' reconstructions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.domains.domain import Domain
from fieldforge.terminal import status


@dataclass(frozen=True)
class NearestReconstructions:
    """The domain's numbers of reconstructed training samples: the reference for the loss by generation alone.

    Args:
        root: folder of the shards.
        resolution: of the reconstructions, equal to that of the generated outputs.
        numbers: cache of numbers by index in the training split.
    """

    autoencoder: Autoencoder
    domain: Domain
    root: str
    resolution: int
    numbers: dict[int, dict[str, float]] = field(default_factory=dict)

    def ratios(
        self, numbers: Sequence[Mapping[str, float] | None], nearest: NDArray[np.int64]
    ) -> dict[str, dict[str, float]]:
        """Median and 90th percentile of each number, divided by that of the nearest training sample's reconstruction.

        Args:
            numbers: of G generated outputs; None of empty ones, which are left out.
            nearest: (G,) index of the training sample nearest to each output.
        """
        pairs = [(row, int(place)) for row, place in zip(numbers, nearest, strict=True) if row is not None]
        self._reconstruct({place for _, place in pairs} - self.numbers.keys())
        rows = [
            {name: value / max(self.numbers[place].get(name, 1.0), 1.0) for name, value in row.items()}
            for row, place in pairs
        ]
        return {f"{name} over those of the nearest reconstruction": figures for name, figures in spread(rows).items()}

    def _reconstruct(self, places: set[int]) -> None:
        if not places:
            return
        start = 0
        samples = HeldOut(open_shards(self.root, "train"), self.domain.input_transforms(), seed=0, batch_size=16)
        for batch in samples:
            count = len(batch["input"])
            for row in sorted({place - start for place in places} & set(range(count))):
                status(f"nearest training samples: {len(self.numbers)} reconstructed")
                one = {name: field[row : row + 1] for name, field in batch.items()}
                output = self.domain.reconstruct(self.autoencoder, one, self.resolution)[0]
                self.numbers[start + row] = {} if output.is_empty else self.domain.describe(output)
            start += count


def spread(rows: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Median and 90th percentile of each number that all rows have."""
    rows = list(rows)
    figures = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        figures[name] = {"median": float(np.median(values)), "90th percentile": float(np.quantile(values, 0.9))}
    return figures
