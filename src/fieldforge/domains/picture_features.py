"""What domains of pictures and clips share: features of pictures, and distances by them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fieldforge.autoencoder.perceptual import PerceptualDistance
from fieldforge.conditioning.efficientnet import efficientnet_lite0
from fieldforge.domains.domain import Domain
from fieldforge.metrics.distribution import frechet_distance, kernel_distance


class PictureFeatures(Domain):
    """A domain whose signatures are features (F,) of EfficientNet-Lite0, trained on ImageNet.

    batch: pictures per batch of that network.
    """

    batch: int

    def nearest(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> NDArray[np.int64]:
        """By cosine similarity of features (F,), centred on the mean of `those`."""
        centre = np.mean(those, axis=0)  # (F,)
        return (unit(np.stack(these) - centre) @ unit(np.stack(those) - centre).T).argmax(axis=1)

    def distance(self, this: np.ndarray, that: np.ndarray) -> float:
        """Cosine distance of features (F,): 1 - cosine, 0…2."""
        return float(1 - (unit(this[None]) @ unit(that[None]).T)[0, 0])

    def compare_sets(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> dict[str, float]:
        """Fréchet and kernel distance of features; Fréchet distances are comparable for sets of equal size only."""
        generated, stored = np.stack(these), np.stack(those)
        return {"frechet": frechet_distance(generated, stored), "kernel": kernel_distance(generated, stored)}

    @cached_property
    def _distance(self) -> PerceptualDistance:
        return PerceptualDistance()

    @cached_property
    def _network(self) -> Any:
        return efficientnet_lite0()

    def _features(self, pictures: Tensor) -> list[np.ndarray]:
        """B features (F,) of pictures (B, 3, H, W), sRGB in 0…1."""
        side, vectors = self._network.size, []
        for part in pictures.float().split(self.batch):
            large = F.interpolate(part, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
            vectors += list(self._network.encode(large).vector.numpy())
        return vectors


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, F), normalised to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
