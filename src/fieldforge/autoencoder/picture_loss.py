"""What an autoencoder of pictures learns from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.autoencoder.adversary import Adversary
from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.perceptual import PerceptualDistance
from fieldforge.fields.base import Field, Params
from fieldforge.fields.picture import pixel_centres
from fieldforge.noise.randomness import Randomness, StepRandomness
from fieldforge.ranges import NotNegative

Batch = dict[str, Tensor]


class PictureLoss(nn.Module):
    """Weighted sum of the terms below and of those of the bottleneck, and an adversary's.

    Rombach et al. 2022 (arXiv 2112.10752), appendix G. Evaluated, the loss leaves the adversary out, whose scores of
    one step cannot be compared with those of another.

    Args:
        pixels: L1 of sRGB in -1…1.
        edges: L1 of the differences between neighbouring pixels, of the picture and of the picture at half its
            resolution: fine lines weigh as much as areas.
        perceptual: see `PerceptualDistance`; 0 loads no network.
        kl: of a `KLBottleneck`, a mean over latents.
        codebook, commitment: of a `VQBottleneck`.
        adversary: what tells reconstructions from pictures; its parameters are trained along.
    """

    def __init__(
        self,
        pixels: NotNegative = 1.0,
        edges: NotNegative = 0.5,
        perceptual: NotNegative = 0.0,
        kl: NotNegative = 1e-3,
        codebook: NotNegative = 1.0,
        commitment: NotNegative = 0.25,
        adversary: Adversary | None = None,
    ):
        super().__init__()
        self.weights = {"pixels": pixels, "edges": edges, "perceptual": perceptual, "kl": kl}
        self.weights |= {"codebook": codebook, "commitment": commitment}
        self.perceptual = PerceptualDistance() if perceptual else None
        self.adversary = adversary

    def forward(
        self, autoencoder: Autoencoder, batch: Batch, randomness: Randomness
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`input` (B, 3, H, W) → loss (), detached terms by name, before their weights."""
        truth = batch["input"].float()
        params, of_latents = autoencoder(batch, randomness)
        rebuilt = rebuilt_pictures(autoencoder.field, params, truth)
        terms = {"pixels": (rebuilt - truth).abs().mean(), "edges": edge_distance(rebuilt, truth)}
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual(rebuilt, truth)
        reconstruction = self._weighted(terms)
        loss, terms = reconstruction + self._weighted(of_latents), {**terms, **of_latents}
        if self.adversary is not None:
            verdict = self.adversary(truth, rebuilt, reconstruction, self._step(randomness))
            terms |= verdict.terms
            loss = loss + verdict.loss if self.training else loss
        return loss, {name: term.detach() for name, term in terms.items()}

    def _weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        return sum((self.weights[name] * term for name, term in terms.items()), torch.zeros(()))

    def _step(self, randomness: Randomness) -> int:
        """A plain generator belongs to no step: the adversary then has its whole say."""
        assert self.adversary is not None
        return randomness.step if isinstance(randomness, StepRandomness) else self.adversary.start + self.adversary.ramp


def rebuilt_pictures(field: Field, params: Params, like: Tensor) -> Tensor:
    """A field of colours at the pixels of pictures like (B, 3, H, H), in -1…1 and float32: (B, 3, H, H)."""
    with torch.autocast(like.device.type, enabled=False):
        points = pixel_centres(like.shape[-1], like.device).expand(len(like), -1, -1)  # (B, H · H, 2)
        read = field.query(points, {name: value.float() for name, value in params.items()})
    return (2 * read["rgb"] - 1).transpose(1, 2).unflatten(2, like.shape[-2:])


def edge_distance(these: Tensor, those: Tensor, octaves: int = 2) -> Tensor:
    """Mean absolute difference of the gradients of pictures (B, 3, H, W), over octaves of resolution: ()."""
    difference, parts = these - those, []
    for _ in range(octaves):
        parts += [difference.diff(dim=-1).abs().mean(), difference.diff(dim=-2).abs().mean()]
        difference = F.avg_pool2d(difference, 2)
    return torch.stack(parts).mean()
