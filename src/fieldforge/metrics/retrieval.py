"""Retrieval metrics of generated embeddings against the true embeddings of many assets.

Axis letters: G generated embeddings, N assets, R views of all assets together, F width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldforge.metrics.clouds import Floats


@dataclass(frozen=True)
class Views:
    """Embeddings of the views of N assets.

    Args:
        vectors: (V, F) for each asset, with a mean of 0 over the data: only then unrelated assets have a cosine of 0.
    """

    vectors: Sequence[Floats]

    def __post_init__(self) -> None:
        assert len(self.vectors) > 1, "one asset alone cannot be told from others"
        assert all(len(views) for views in self.vectors), "an asset without views"

    def cosines(self, generated: Floats) -> NDArray[np.float64]:
        """generated (G, F) → (G, R), views in the order of their assets."""
        return _unit(generated) @ _unit(np.concatenate(self.vectors)).T

    def mean(self, cosines: Floats) -> NDArray[np.float64]:
        """(G, R) → (G, N): over the views of each asset."""
        return np.add.reduceat(cosines, self._starts, axis=1) / [len(views) for views in self.vectors]

    def best(self, cosines: Floats) -> NDArray[np.float64]:
        """(G, R) → (G, N): of the nearest view of each asset."""
        return np.maximum.reduceat(cosines, self._starts, axis=1)

    def place(self, row: int) -> tuple[int, int]:
        """Asset and view of one of the R."""
        asset = int(np.searchsorted(self._starts, row, side="right")) - 1
        return asset, row - int(self._starts[asset])

    def between_views(self) -> float:
        """Mean cosine of two different views of one asset: an upper bound for embeddings made from a name alone."""
        similarities = []
        for views in self.vectors:
            cosines = _unit(views) @ _unit(views).T
            similarities += list(cosines[~np.eye(len(views), dtype=bool)])
        return float(np.mean(similarities)) if similarities else float("nan")

    @property
    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *(len(views) for views in self.vectors[:-1])])


def own_and_others(mean: Floats, target: NDArray[np.integer]) -> tuple[float, float]:
    """From cosines (G, N) and each one's target asset (G,): mean cosine to the target, and to all other assets.

    The second value is the expectation over shuffled pairs.
    """
    own = np.zeros(mean.shape, bool)
    own[np.arange(len(mean)), target] = True
    return float(mean[own].mean()), float(mean[~own].mean())


def top_share(best: Floats, target: NDArray[np.integer], count: int) -> float:
    """From cosines (G, N): how often the target asset is among the `count` nearest. A tie counts as a miss."""
    own = best[np.arange(len(best)), target][:, None]  # (G, 1)
    return float(((best >= own).sum(axis=1) <= count).mean())


def _unit(vectors: Floats) -> NDArray[np.float64]:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
