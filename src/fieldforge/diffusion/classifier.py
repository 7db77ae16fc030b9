"""A classifier of noisy latents and its loss."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.diffusion.parameterization import input_scale, noise_level
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.nn.grouping import common_group
from fieldforge.nn.transformer import Transformer
from fieldforge.noise.process import Process, like, placed
from fieldforge.noise.randomness import Randomness, normal
from fieldforge.ranges import Count, Whole


class LatentClassifier(nn.Module):
    """log p(class | x_t) of noisy latents: a modulated transformer that classifies the mean of its tokens.

    Dhariwal & Nichol 2021, section 4, with a transformer in the place of their half U-Net. `group` neighbouring latent
    tokens are one token in the transformer (see `common_group`). As with a `DiffusionModel`, the network's input does
    not depend on the process: `process` may be set to the process of the guided model.
    """

    def __init__(
        self,
        tokens: Count,
        channels: Count,
        width: Count,
        layers: Whole,
        heads: Count,
        classes: Count,
        process: Process,
        group: Count = 1,
    ):
        super().__init__()
        self.process = process
        self.group = group = common_group(tokens, group, "classifier.group")
        self.embed = nn.Linear(group * channels, width)
        self.positions = nn.Parameter(torch.randn(tokens // group, width) * 0.02)
        self.embed_noise_level = NoiseLevelEmbedding(width)
        self.transformer = Transformer(width, heads, layers, vector_width=width)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, classes)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t (B, T, C), t (B,) → log-probabilities (B, classes)."""
        scaled = like(input_scale(self.process.alpha(t), self.process.sigma(t)), x_t) * x_t  # (B, T, C)
        level = placed(noise_level(self.process.log_snr(t)), x_t)  # (B,)
        tokens = self.embed(scaled.unflatten(1, (-1, self.group)).flatten(2)) + self.positions  # (B, T / group, width)
        tokens = self.transformer(tokens, self.embed_noise_level(level))  # (B, T / group, width)
        return F.log_softmax(self.project(self.norm(tokens.mean(dim=1))).to(x_t.dtype), dim=-1)  # (B, classes)


def classifier_loss(classifier: LatentClassifier, x0: Tensor, noise: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy on noised data: x0 (B, T, C), noise (B, T, C), t (B,), labels (B,) → (B,) in nats."""
    x_t = classifier.process.add_noise(x0, noise, t)  # (B, T, C)
    return F.nll_loss(classifier(x_t, t), labels, reduction="none")


@torch.no_grad()
def accuracy_by_noise(
    classifier: LatentClassifier, x0: Tensor, labels: Tensor, levels: Sequence[float], randomness: Randomness
) -> dict[float, Tensor]:
    """Noise level σ/α → accuracy () of the class (B,) of x0 (B, T, C) given x_t; all levels share the same noise."""
    noise = normal(x0.shape, randomness).to(x0)  # (B, T, C)
    shares = {}
    for level in levels:
        log_snr = torch.full((len(x0),), -2 * math.log(level), dtype=torch.float64)
        t = classifier.process.time_of_log_snr(log_snr)  # (B,)
        predictions = classifier(classifier.process.add_noise(x0, noise, t), t).argmax(dim=1)  # (B,)
        shares[level] = (predictions == labels).float().mean()
    return shares
