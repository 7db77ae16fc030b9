"""What a `CompactAutoencoder` learns from: the latents of its base."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.compact import CompactAutoencoder
from fieldforge.errors import UserError
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import NotNegative


@dataclass(frozen=True)
class CompactLoss:
    """Weighted sum of the terms of `CompactAutoencoder.compare_latents` and of the bottleneck's `kl`."""

    activity: NotNegative = 20.0
    channels: NotNegative = 1.0
    surface: NotNegative = 5.0
    kl: NotNegative = 1e-3

    def __call__(
        self, autoencoder: Autoencoder, batch: dict[str, Tensor], randomness: Randomness
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Batch with `input` → loss (), detached terms by name, before their weights.

        UserError where there are no latents of a base, or a term has no weight here.
        """
        if not isinstance(autoencoder, CompactAutoencoder):
            raise UserError("autoencoder_loss=compact is one of latents of a base: take it with autoencoder=compact")
        terms, weights = autoencoder.compare_latents(batch, randomness), asdict(self)
        if strange := sorted(terms.keys() - weights.keys()):
            raise UserError(f"autoencoder.bottleneck: autoencoder_loss=compact has no weight for {', '.join(strange)}")
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return loss, {name: term.detach() for name, term in terms.items()}
