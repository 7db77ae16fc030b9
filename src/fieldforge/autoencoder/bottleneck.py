"""Bottlenecks: what latents are, and how they are made robust while training. T tokens, W and C channels."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness, normal, uniform
from fieldforge.ranges import Count, NotNegative, Share

Terms = dict[str, Tensor]


class Bottleneck(nn.Module, ABC):
    """Between encoder and decoder: what latents are, and what is added to them in training.

    channels: of the latents, where the encoder's number is not kept.
    """

    channels: int | None = None

    @abstractmethod
    def forward(self, h: Tensor, randomness: Randomness | None = None) -> tuple[Tensor, Terms]:
        """h (B, T, W) → what the decoder gets in training (B, T, C), and terms () of the loss by name."""

    @abstractmethod
    def latents(self, h: Tensor) -> Tensor:
        """h (B, T, W) → latents (B, T, C) for good, without noise."""

    def restore(self, latents: Tensor) -> Tensor:
        """Generated latents (B, T, C) → the nearest that the decoder knows."""
        return latents


class NoisyBottleneck(Bottleneck):
    """z = tanh(h); in training, with probability `noised`, x_t = α(t) z + σ(t) ε at a random t, else t = 0.

    Shap-E (Jun & Nichol 2023), section 4.1: noise with ᾱ(t) = 1 - t⁵ makes the decoder bear what the latent diffusion
    leaves over.
    """

    def __init__(self, process: Process, noised: Share = 0.1):
        super().__init__()
        if not 0 <= noised <= 1:
            raise ValueError(f"NoisyBottleneck: noised={noised} is a probability, give it between 0 and 1")
        self.process, self.noised = process, noised

    def latents(self, h: Tensor) -> Tensor:
        """In [-1, 1]."""
        return h.tanh()

    def restore(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)

    def forward(self, h: Tensor, randomness: Randomness | None = None) -> tuple[Tensor, Terms]:
        """h (B, T, C) → latents (B, T, C) in [-1, 1]; noised in training mode, which needs randomness. No terms."""
        z = h.tanh()
        if not self.training:
            return z, {}
        if randomness is None:
            raise ValueError("NoisyBottleneck draws noise in training mode: pass it randomness, or a generator")
        chance, time = uniform((len(z), 2), randomness).to(z.device).unbind(1)  # (B,) each
        t = torch.where(chance < self.noised, time, 0.0)  # (B,)
        noise = normal(z.shape, randomness).to(z)  # (B, T, C)
        return self.process.add_noise(z, noise, t), {}


class SparseBottleneck(Bottleneck):
    """Latents of a grid of which few cells are active: the first channel is 1 or -1, the rest is tanh(h), 0 where it is
    -1.

    In training the channels of active cells get Gaussian noise: of deviation `noise`, and for a share `noised` of the
    samples of one that is uniform up to `most`. So the decoder learns to bear what the latent diffusion leaves over.
    `restore` gives generated latents that form: a cell is active where its first channel is positive.
    """

    def __init__(self, noise: NotNegative = 0.05, noised: Share = 0.1, most: NotNegative = 0.5):
        super().__init__()
        self.noise, self.noised, self.most = noise, noised, most

    def latents(self, h: Tensor) -> Tensor:
        return self.restore(torch.cat([h[..., :1], h[..., 1:].tanh()], -1))

    def restore(self, latents: Tensor) -> Tensor:
        active = (latents[..., :1] > 0).to(latents)
        return torch.cat([2 * active - 1, latents[..., 1:].clamp(-1, 1) * active], -1)

    def forward(self, h: Tensor, randomness: Randomness | None = None) -> tuple[Tensor, Terms]:
        """h (B, T, C) → latents (B, T, C); noised in training mode, which needs randomness. No terms."""
        z = self.latents(h)
        if not self.training:
            return z, {}
        if randomness is None:
            raise ValueError("SparseBottleneck draws noise in training mode: pass it randomness, or a generator")
        chance, level = uniform((len(z), 2), randomness).to(z.device).unbind(1)  # (B,) each
        deviation = torch.where(chance < self.noised, level * self.most, self.noise)[:, None, None]
        noise = deviation * normal(z[..., 1:].shape, randomness).to(z)  # (B, T, C - 1)
        return torch.cat([z[..., :1], z[..., 1:] + noise * (z[..., :1] > 0)], -1), {}


class KLBottleneck(Bottleneck):
    """Latents as the mean of a normal distribution, drawn from in training (Kingma & Welling 2013, arXiv 1312.6114).

    Term `kl`: KL(N(mean, var) ‖ N(0, 1)) in nats (ibid., appendix B), the mean over samples and latent numbers.

    Args:
        inputs: W, channels of the encoder.
        channels: C.
    """

    def __init__(self, inputs: Count, channels: Count):
        super().__init__()
        self.channels = channels
        self.moments = nn.Linear(inputs, 2 * channels)

    def forward(self, h: Tensor, randomness: Randomness | None = None) -> tuple[Tensor, Terms]:
        mean, log_variance = self.moments(h).float().chunk(2, dim=-1)  # (B, T, C) each
        log_variance = log_variance.clamp(-30, 20)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        if not self.training:
            return mean, {"kl": kl}
        if randomness is None:
            raise ValueError(
                "KLBottleneck draws from its distribution in training mode: pass it randomness, or a generator"
            )
        return mean + (0.5 * log_variance).exp() * normal(mean.shape, randomness).to(mean), {"kl": kl}

    def latents(self, h: Tensor) -> Tensor:
        """The means."""
        return self.moments(h).chunk(2, dim=-1)[0]


class VQBottleneck(Bottleneck):
    """Each token is replaced by the code nearest to it (VQ-VAE, van den Oord et al. 2017, arXiv 1711.00937, eq. 3).

    Tokens and codes have length 1, which keeps codes in use (ViT-VQGAN, Yu et al. 2022, arXiv 2110.04627, section 3.2).
    Gradients of the decoder pass to the token as if nothing were replaced. Latents are the tokens: a diffusion's are
    replaced when they are decoded.
    Terms: `codebook` draws codes to the tokens they stand for, `commitment` tokens to their codes.

    Args:
        inputs: W, channels of the encoder.
        channels: C.
        codes: how many.
    """

    def __init__(self, inputs: Count, channels: Count, codes: Count):
        super().__init__()
        self.channels = channels
        self.project = nn.Linear(inputs, channels)
        self.codebook = nn.Parameter(torch.randn(codes, channels))

    def forward(self, h: Tensor, randomness: Randomness | None = None) -> tuple[Tensor, Terms]:
        tokens = self.latents(h)  # (B, T, C)
        codes = self.restore(tokens)  # (B, T, C)
        terms = {
            "codebook": (codes - tokens.detach()).square().mean(),
            "commitment": (codes.detach() - tokens).square().mean(),
        }
        return tokens + (codes - tokens).detach(), terms

    def latents(self, h: Tensor) -> Tensor:
        """Of length 1."""
        return F.normalize(self.project(h).float(), dim=-1)

    def restore(self, latents: Tensor) -> Tensor:
        codes = F.normalize(self.codebook.float(), dim=-1)  # (codes, C)
        return codes[(latents.detach().float() @ codes.detach().T).argmax(-1)]
