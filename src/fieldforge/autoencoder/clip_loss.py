"""What the layers over time of a clip autoencoder learn from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.perceptual import PerceptualDistance
from fieldforge.autoencoder.picture_loss import edge_distance
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import NotNegative

Batch = dict[str, Tensor]


class ClipLoss(nn.Module):
    """Weighted sum of terms of all frames.

    Args:
        pixels: L1 of sRGB in -1…1.
        edges: L1 of the differences between neighbouring pixels, see `edge_distance`.
        motion: L1 of the differences between neighbouring frames: flicker counts that pixels alone would forgive.
        perceptual: see `PerceptualDistance`, of every frame; 0 loads no network.
    """

    def __init__(
        self,
        pixels: NotNegative = 1.0,
        edges: NotNegative = 0.5,
        motion: NotNegative = 1.0,
        perceptual: NotNegative = 0.0,
    ):
        super().__init__()
        self.weights = {"pixels": pixels, "edges": edges, "motion": motion, "perceptual": perceptual}
        self.perceptual = PerceptualDistance() if perceptual else None

    def forward(
        self, autoencoder: Autoencoder, batch: Batch, randomness: Randomness
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`input` (B, V, 3, H, W) → loss (), detached terms by name, before their weights."""
        truth = batch["input"].float()
        params, _ = autoencoder(batch, randomness)
        rows = params["pixels"].float()  # (B, V · H · W, 3), what the field has at the centres of pixels
        rebuilt = rows.unflatten(1, (truth.shape[1], *truth.shape[3:])).permute(0, 1, 4, 2, 3)  # (B, V, 3, H, W)
        difference = rebuilt - truth
        terms = {
            "pixels": difference.abs().mean(),
            "edges": edge_distance(rebuilt.flatten(0, 1), truth.flatten(0, 1)),
            "motion": difference.diff(dim=1).abs().mean(),
        }
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(rebuilt.flatten(0, 1), truth.flatten(0, 1))
        loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return loss, {name: term.detach() for name, term in terms.items()}
