"""Confidence intervals by the bootstrap, for samples that come in groups.

Samples of one prompt resemble each other, so that they tell less than as many independent ones. Whole groups are drawn
with replacement (the cluster bootstrap: Davison and Hinkley 1997, "Bootstrap methods and their application", section
3.8, strategy 1). Axis letters: N samples, G groups, R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """A mean with its confidence interval."""

    mean: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class Resampling:
    """R resamples of G groups: how often each group is drawn, (R, G). Two means under one resampling are paired."""

    counts: NDArray[np.int64]

    @staticmethod
    def of(groups: int, seed: int = 0, resamples: int = RESAMPLES) -> Resampling:
        generator = np.random.default_rng(seed)
        return Resampling(generator.multinomial(groups, np.full(groups, 1 / groups), size=resamples))

    def figure(self, values: NDArray[np.floating], groups: NDArray[np.integer]) -> Figure:
        """Mean of values (N,) in groups (N,), indices below G, and its percentile interval; NaN are left out.

        A resample without a value does not count. NaN without any.
        """
        means, there = self.means(values, groups), np.isfinite(values)
        if not there.any():
            return Figure(float("nan"), float("nan"), float("nan"), 0)
        return Figure(float(values[there].mean()), *interval(means), int(there.sum()))

    def means(self, values: NDArray[np.floating], groups: NDArray[np.integer]) -> NDArray[np.float64]:
        """(R,) mean of each resample; NaN of one without a value."""
        there, size = np.isfinite(values), self.counts.shape[1]
        sums = np.bincount(groups[there], values[there], size)  # (G,)
        numbers = np.bincount(groups[there], minlength=size)  # (G,)
        with np.errstate(invalid="ignore"):
            means: NDArray[np.float64] = (self.counts @ sums) / (self.counts @ numbers)
        return means

    def difference(
        self, values: NDArray[np.floating], others: NDArray[np.floating], groups: NDArray[np.integer]
    ) -> Figure:
        """Mean of values (N,) minus mean of others (N,), both of groups (N,), with the interval of the difference."""
        own, other = self.figure(values, groups), self.figure(others, groups)
        low, high = interval(self.means(values, groups) - self.means(others, groups))
        return Figure(own.mean - other.mean, low, high, min(own.samples, other.samples))


def interval(means: NDArray[np.floating]) -> tuple[float, float]:
    """The middle `LEVEL` of the resamples' means (R,); NaN where all are."""
    if not np.isfinite(means).any():
        return float("nan"), float("nan")
    low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
