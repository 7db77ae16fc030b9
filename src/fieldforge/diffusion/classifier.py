"""A classifier of noisy latents, and how it is trained."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.diffusion.parameterization import input_scale, noise_level
from fieldforge.nn.embeddings import NoiseLevelEmbedding
from fieldforge.nn.transformer import Transformer
from fieldforge.noise.process import Process, like


class LatentClassifier(nn.Module):
    """log p(class | x_t) of noisy latents: a modulated transformer whose mean token is classified.

    Dhariwal & Nichol 2021, section 4, with a transformer in the place of their half U-Net.
    """

    def __init__(self, tokens: int, channels: int, width: int, layers: int, heads: int, classes: int, process: Process):
        super().__init__()
        self.process = process
        self.embed = nn.Linear(channels, width)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.embed_noise_level = NoiseLevelEmbedding(width)
        self.transformer = Transformer(width, heads, layers, vector_width=width)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, classes)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """x_t (B, T, C), t (B,) → log-probabilities (B, classes)."""
        scaled = like(input_scale(self.process.alpha(t), self.process.sigma(t)), x_t) * x_t  # (B, T, C)
        level = noise_level(self.process.log_snr(t)).to(device=x_t.device, dtype=x_t.dtype)  # (B,)
        tokens = self.transformer(self.embed(scaled) + self.positions, self.embed_noise_level(level))  # (B, T, width)
        return F.log_softmax(self.project(self.norm(tokens.mean(dim=1))).to(x_t.dtype), dim=-1)  # (B, classes)


def classifier_loss(classifier: LatentClassifier, x0: Tensor, noise: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy on noised data: x0 (B, T, C), noise (B, T, C), t (B,), labels (B,) → (B,) in nats."""
    x_t = classifier.process.add_noise(x0, noise, t)  # (B, T, C)
    return F.nll_loss(classifier(x_t, t), labels, reduction="none")
