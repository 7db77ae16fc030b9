"""Parts that are compared with those of `autoencoder=sparse`: other choices of near points, a loss of normals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldforge.autoencoder.losses import AutoencoderLoss, Batch
from fieldforge.data.shape_schema import NORMAL_UNIT
from fieldforge.data.shape_transforms import pick
from fieldforge.fields.base import Field, Params
from fieldforge.noise.randomness import Randomness

SALIENT_CELLS = 48  # along an axis of the box, in which normals are averaged
FLAT = 0.03  # weight of a place where nothing bends
STEP = 0.01  # box units, from a surface point along its normal


class SalientDistances:
    """As `Distances`, with half of the near points drawn where the surface bends (Dora, Chen et al. 2024)."""

    def __init__(self, near: int, volume: int) -> None:
        self.near, self.volume = near, volume

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        near, volume = self._near(sample, generator), pick(self.volume, len(sample["volume_points.npy"]), generator)
        return {
            f"{kind}_{what}": sample[f"{kind}_{what}.npy"][chosen].astype(np.float32)
            for kind, chosen in (("near", near), ("volume", volume))
            for what in ("points", "sdf")
        }

    def _near(self, sample: Mapping[str, Any], generator: np.random.Generator) -> np.ndarray:
        """Numbers (M,) of stored near points."""
        stored = len(sample["near_points.npy"])
        weight = self.weight(sample)  # (stored,)
        first = pick(self.near // 2, stored, generator)
        return np.concatenate(
            [first, generator.choice(stored, self.near - len(first), replace=True, p=weight / weight.sum())]
        )

    def weight(self, sample: Mapping[str, Any]) -> np.ndarray:
        """Of each near point (stored,): 1 - |mean normal| around it, 0 where no surface is."""
        cells = cells_of(sample["surface_points.npy"])  # (N,)
        normals = sample["surface_normals.npy"].astype(np.float64) * NORMAL_UNIT
        count = np.bincount(cells, minlength=SALIENT_CELLS**3)
        sums = np.stack([np.bincount(cells, normals[:, axis], SALIENT_CELLS**3) for axis in range(3)], -1)
        sharp = np.where(count > 0, 1 - np.linalg.norm(sums, axis=1) / np.maximum(count, 1), 0)
        return FLAT + sharp[cells_of(sample["near_points.npy"])]


class InsideDistances(SalientDistances):
    """As `Distances`, with half of the near points drawn inside: of thin parts few are."""

    def weight(self, sample: Mapping[str, Any]) -> np.ndarray:
        inside = sample["near_sdf.npy"] < 0
        return inside.astype(float) if inside.any() else np.ones(len(inside))


def cells_of(points: np.ndarray) -> np.ndarray:
    """points (N, 3) → number of the cell that holds each (N,)."""
    place = np.clip((points.astype(np.float32) + 1) * (SALIENT_CELLS / 2), 0, SALIENT_CELLS - 1).astype(np.int64)
    return (place[:, 0] * SALIENT_CELLS + place[:, 1]) * SALIENT_CELLS + place[:, 2]


@dataclass(frozen=True)
class NormalLoss(AutoencoderLoss):
    """With `normal`: L1 of the field's slope along the normal of surface points, which is 1."""

    normal: float = 0.2

    def compare(
        self, field: Field, params: Params, batch: Batch, randomness: Randomness
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = super().compare(field, params, batch, randomness)
        points, normals = batch["input"][:, : self.colored, :3], batch["input"][:, : self.colored, 3:6]
        with torch.autocast(points.device.type, enabled=False):
            before, after = field.query(torch.cat([points, points + STEP * normals], 1), params)["sdf"].chunk(2, 1)
        normal = ((after - before) / STEP - 1).abs().clamp(max=math.pi).mean()
        return loss + self.normal * normal, {**terms, "normal": normal.detach()}
