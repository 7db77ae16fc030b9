"""What an autoencoder of pictures learns from."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.fields.picture import pixel_centres
from fieldforge.noise.draws import Source
from fieldforge.ranges import NotNegative

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class PictureLoss:
    """Weighted sum of the terms below and of those of the bottleneck.

    pixels: L1 of sRGB in -1…1. edges: L1 of the differences between neighbouring pixels, of the picture and of the
    picture at half its resolution: fine lines weigh as much as areas. kl: of a `KLBottleneck`, a mean over latents.
    codebook, commitment: of a `VQBottleneck`.
    """

    pixels: NotNegative = 1.0
    edges: NotNegative = 0.5
    kl: NotNegative = 1e-3
    codebook: NotNegative = 1.0
    commitment: NotNegative = 0.25

    def __call__(self, autoencoder: Autoencoder, batch: Batch, draws: Source) -> tuple[Tensor, dict[str, Tensor]]:
        """`input` (B, 3, H, W) → loss (), detached terms by name, before their weights."""
        truth = batch["input"].float()
        params, terms = autoencoder(batch["input"], draws)
        with torch.autocast(truth.device.type, enabled=False):
            points = pixel_centres(truth.shape[-1]).to(truth.device).expand(len(truth), -1, -1)  # (B, H · W, 2)
            read = autoencoder.field.query(points, {name: value.float() for name, value in params.items()})
        rebuilt = (2 * read["rgb"] - 1).transpose(1, 2).unflatten(2, truth.shape[-2:])  # (B, 3, H, W)
        terms = {"pixels": (rebuilt - truth).abs().mean(), "edges": edge_distance(rebuilt, truth), **terms}
        loss = torch.stack([getattr(self, name) * term for name, term in terms.items()]).sum()
        return loss, {name: term.detach() for name, term in terms.items()}


def edge_distance(these: Tensor, those: Tensor, octaves: int = 2) -> Tensor:
    """Mean absolute difference of the gradients of pictures (B, 3, H, W), over octaves of resolution: ()."""
    difference, parts = these - those, []
    for _ in range(octaves):
        parts += [difference.diff(dim=-1).abs().mean(), difference.diff(dim=-2).abs().mean()]
        difference = F.avg_pool2d(difference, 2)
    return torch.stack(parts).mean()
