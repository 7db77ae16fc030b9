"""The noisy bottleneck: latents are bounded, and decoded through a little diffusion noise while training."""

import torch
from torch import Tensor, nn

from fieldforge.noise.draws import Source, normal, uniform
from fieldforge.noise.process import Process
from fieldforge.ranges import Share


class NoisyBottleneck(nn.Module):
    """z = tanh(h); in training, with probability `noised`, x_t = α(t) z + σ(t) ε at a random t, else t = 0.

    Shap-E (Jun & Nichol 2023), section 4.1: noise with ᾱ(t) = 1 - t⁵ makes the decoder bear what the latent diffusion
    leaves over.
    """

    def __init__(self, process: Process, noised: Share = 0.1):
        super().__init__()
        if not 0 <= noised <= 1:
            raise ValueError(f"NoisyBottleneck: noised={noised} is a probability, give it between 0 and 1")
        self.process, self.noised = process, noised

    def forward(self, h: Tensor, draws: Source | None = None) -> Tensor:
        """h (B, T, C) → latents (B, T, C) in [-1, 1]; noised in training mode, which needs draws."""
        z = h.tanh()
        if not self.training:
            return z
        if draws is None:
            raise ValueError("NoisyBottleneck draws noise in training mode: pass it draws, or a generator")
        chance, time = uniform((len(z), 2), draws).to(z.device).unbind(1)  # (B,) each
        t = torch.where(chance < self.noised, time, 0.0)  # (B,)
        noise = normal(z.shape, draws).to(z)  # (B, T, C)
        return self.process.add_noise(z, noise, t)
