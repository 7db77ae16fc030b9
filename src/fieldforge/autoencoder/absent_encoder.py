"""The encoder of an autoencoder that came without one."""

from __future__ import annotations

from torch import Tensor

from fieldforge.autoencoder.encoders import Encoder
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.ranges import Count


class AbsentEncoder(Encoder):
    """Knows the shape of the latents and makes none: what samples needs a decoder alone.

    diffusers' pipelines of Shap-E and OpenAI's vector_decoder.pt hold no encoder.
    """

    def __init__(self, tokens: Count, channels: Count):
        super().__init__()
        self.latent_shape = LatentShape(tokens, channels)

    def forward(self, surface: Tensor) -> Tensor:
        """UserError."""
        raise UserError(
            "these weights have no encoder: they make samples from prompts and no latents of shapes; for Shap-E give "
            "OpenAI's transmitter.pt"
        )
