"""The autoencoder: a sample → latents → the parameters of a field."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from fieldforge.autoencoder.bottleneck import Bottleneck, Terms
from fieldforge.autoencoder.encoders import Encoder, RandomEncoder
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.randomness import Randomness

Batch = Mapping[str, Tensor]
"""Fields of B samples by name, see docs/architecture.md; an autoencoder reads those that its encoder names."""


class Autoencoder(nn.Module):
    """encoder → bottleneck → decoder → `field`'s parameters.

    `encode` and `decode` speak of latents of zero mean in every channel, and of unit variance, or of the encoder's
    `deviations`. The statistics behind that are measured once over the training set (`set_statistics`) and travel in
    the checkpoint; before, they are 0 and 1.

    starts_from_another: whether it is of no use without the weights of another autoencoder. keeps_latents: whether its
    latents are those of that one, so that a denoiser of those knows them.

    Args:
        unit_variance: False: latents stay as the bottleneck has them, and no statistics are measured.
    """

    starts_from_another: ClassVar[bool] = False
    keeps_latents: ClassVar[bool] = False
    unit_variance = True

    def __init__(
        self,
        encoder: Encoder,
        bottleneck: Bottleneck,
        field: Field,
        decoder: Callable[..., nn.Module],
        unit_variance: bool = True,
    ):
        super().__init__()
        self.unit_variance = unit_variance
        shape = encoder.latent_shape
        self.latent_shape = LatentShape(shape.tokens, bottleneck.channels or shape.channels, shape.grid)
        self.encoder, self.bottleneck, self.field = encoder, bottleneck, field
        tokens, channels = self.latent_shape.tokens, self.latent_shape.channels
        self.decoder = decoder(tokens=tokens, channels=channels, param_shapes=field.param_shapes)
        self.register_statistics(channels)

    def register_statistics(self, channels: int) -> None:
        """Mean 0 and deviation 1 of each channel, until they are measured."""
        self.latent_mean: Tensor
        self.latent_std: Tensor
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_std", torch.ones(channels))

    def initial_weights(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The weights to start from, where another autoencoder's are given."""
        return weights

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields of a batch that make latents: those that the encoder names, or `input`."""
        return getattr(self.encoder, "reads", ("input",))

    def forward(self, batch: Batch, randomness: Randomness | None = None) -> tuple[Params, Terms]:
        """Reconstruct: `reads` → field parameters, through the bottleneck's noise in training; and its terms."""
        latents, terms = self.bottleneck(self.hidden(batch, randomness), randomness)
        return self.field_params(latents), terms

    def encode(self, batch: Batch) -> Tensor:
        """`reads`, such as `input` (B, N, 9) → latents (B, T, C), unit variance once statistics are set."""
        latents = self.bottleneck.latents(self.hidden(batch).float())  # (B, T, C)
        return (latents - self.latent_mean) / self.latent_std

    def decode(self, latents: Tensor) -> Params:
        """latents (B, T, C) → field parameters."""
        return self.field_params(self.bottleneck.restore(self.own_units(latents)))

    def hidden(self, batch: Batch, randomness: Randomness | None = None) -> Tensor:
        """`reads` → what the bottleneck makes latents of (B, T, W). UserError for a batch without one of them."""
        missing = [name for name in self.reads if name not in batch]
        if missing:
            raise UserError(
                f"autoencoder.encoder reads {', '.join(missing)} of a sample, which neither the domain nor the "
                f"transforms give: set domain.encoded_views and add the transform Views to data.transforms"
            )
        fields = [batch[name] for name in self.reads]
        draws = isinstance(self.encoder, RandomEncoder)
        return self.encoder(*fields, randomness=randomness) if draws else self.encoder(*fields)

    def field_params(self, latents: Tensor) -> Params:
        """latents (B, T, C) in the bottleneck's own units → field parameters."""
        return self.decoder(latents)

    def own_units(self, latents: Tensor) -> Tensor:
        """latents (B, T, C) as `encode` gives them → in the bottleneck's own units."""
        return latents * self.latent_std + self.latent_mean

    def forget_statistics(self) -> None:
        """Mean 0 and deviation 1 again, until they are measured."""
        self.latent_mean.zero_()
        self.latent_std.fill_(1)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation (C,) of the channels of `encode`'s output while these are still 0 and 1.

        `encode` divides by `latent_std`: the deviation over that which the encoder wants the channel to have.
        """
        if mean.shape != self.latent_mean.shape or std.shape != self.latent_std.shape:
            raise ValueError(f"latent statistics must be ({self.latent_shape.channels},), got {tuple(mean.shape)}")
        self.latent_mean.copy_(mean)
        wanted = getattr(self.encoder, "deviations", None)
        std = std.clamp(min=1e-4)
        self.latent_std.copy_(std if wanted is None else std / torch.tensor(wanted).to(std))
