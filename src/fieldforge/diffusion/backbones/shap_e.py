"""The denoiser of Shap-E (Jun & Nichol 2023, arXiv 2305.02463), value for value."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.aligned_input import beside
from fieldforge.errors import UserError
from fieldforge.nn.linear import initialise
from fieldforge.nn.places import first_places
from fieldforge.nn.transformer import FeedForward, Transformer
from fieldforge.ranges import Count, Whole

STEPS = 1024
"""Discrete steps of the original's process, ᾱ_i = exp(-RATE (i + 1) / STEPS) for i = 0 … STEPS - 1."""
RATE = 12.0
LONGEST = 10_000.0  # period of the slowest wave of the step, by 2π
INIT_SCALE = 0.25
POSITION_DEVIATION = 0.05


class ShapEBackbone(nn.Module):
    """[condition · step · latent tokens] through plain blocks with a norm over all tokens before and after.

    It reads one part of the condition, as it comes from a source without a projection, and projects it itself:
    `vector`: text, one token, the vector of unit length times √D through a linear map; `tokens`: a picture, the tokens
    of its grid through layer norm and a linear map. A part that is missing counts as zeros, the null.

    The published models have 24 layers of width 1,024, with 16 heads (text, D = 768) or 8 (pictures, D = 1,024). The
    output starts at zero. `grid` and `output_channels`: see the package.

    Raises:
        UserError: a condition with another part than the one that is read.
    """

    def __init__(
        self,
        tokens: Count,
        channels: Count,
        width: Count,
        layers: Whole,
        heads: Count,
        condition_width: Count,
        reads: Literal["vector", "tokens"] = "vector",
        checkpointing: bool = False,
        output_channels: int | None = None,
        grid: Sequence[int] | None = None,
        aligned_channels: Whole = 0,
    ):
        super().__init__()
        self.tokens, self.heads, self.reads = tokens, heads, reads
        self.aligned_channels, self.condition_width = aligned_channels, condition_width
        self.embed = nn.Linear(channels + aligned_channels, width)
        self.positions = nn.Parameter(first_places(tokens, width, grid, POSITION_DEVIATION))
        self.embed_step = FeedForward(width)
        project = nn.Linear(condition_width, width)
        self.embed_condition = project if reads == "vector" else nn.Sequential(nn.LayerNorm(condition_width), project)
        self.first_norm = nn.LayerNorm(width)
        self.transformer = Transformer(width, heads, layers, checkpointing=checkpointing)
        self.final_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, output_channels or channels)
        self._initialize()

    def _initialize(self) -> None:
        """Blocks and the step's layers start at N(0, (0.25 / √width)²), the output at zero, their biases at zero."""
        initialise((*self.transformer.modules(), *self.embed_step), INIT_SCALE / math.sqrt(self.positions.shape[1]))
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        """x (B, T, C), noise_level (B,) → (B, T, output_channels)."""
        read, visible = self._read(x, condition)
        waves = step_waves(discrete_step(noise_level), self.positions.shape[1])  # (B, width)
        parts = [
            self.embed_condition(read),  # (B, L, width)
            self.embed_step(waves)[:, None],  # (B, 1, width)
            self.embed(beside(x, condition, self.aligned_channels)) + self.positions,  # (B, T, width)
        ]
        sequence = torch.cat([part.to(parts[-1].dtype) for part in parts], dim=1)  # (B, L + 1 + T, width)
        mask = None if visible is None else F.pad(visible, (0, 1 + self.tokens), value=True)  # (B, L + 1 + T)
        sequence = self.transformer(self.first_norm(sequence), mask=mask)[:, -self.tokens :]  # (B, T, width)
        return self.project(self.final_norm(sequence))  # (B, T, output_channels)

    def _read(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor | None]:
        """The part of the condition that is read, as tokens (B, L, D), and their mask (B, L), None: all are seen."""
        other = "tokens" if self.reads == "vector" else "vector"
        if getattr(condition, other) is not None:
            raise UserError(
                f"backbone.reads={self.reads}, but a source of conditioner.parts offers its {other}, which this "
                f"backbone would ignore: set {other}=false there"
            )
        if self.reads == "vector" and condition.vector is not None:
            return condition.vector[:, None] * math.sqrt(self.condition_width), None
        if condition.tokens is not None:
            return condition.tokens, condition.mask
        return x.new_zeros(len(x), 1, self.condition_width), None


def discrete_step(noise_level: Tensor) -> Tensor:
    """The step i in [0, STEPS - 1] of a noise level ¼ ln(σ/α): (B,) → (B,), never below float32.

    Whole numbers at the levels of the original's steps, linear in ln(σ/α) between them, clamped beyond the first and
    the last.
    """
    log_ratio = 4 * noise_level.to(torch.promote_types(noise_level.dtype, torch.float32))  # (B,), ln(σ/α)
    exact = F.softplus(2 * log_ratio) * (STEPS / RATE) - 1  # -ln ᾱ = ln(1 + (σ/α)²)
    low = exact.floor().clamp(0, STEPS - 2)
    start, end = _log_ratio(low), _log_ratio(low + 1)
    return (low + (log_ratio - start) / (end - start)).clamp(0, STEPS - 1)


def _log_ratio(step: Tensor) -> Tensor:
    """ln(σ/α) of discrete steps."""
    return torch.log(torch.expm1((step + 1) * (RATE / STEPS))) / 2


def step_waves(step: Tensor, width: int) -> Tensor:
    """cos and sin of `step` (B,) times the frequencies 10000^(-k / w), k < w = width / 2: (B, width).

    Vaswani et al. 2017, section 3.5.
    """
    if width % 2:
        raise ValueError(f"the width {width} of step_waves is not even")
    exponents = torch.arange(width // 2, device=step.device, dtype=step.dtype) / (width // 2)
    angles = step[:, None] * torch.exp(-math.log(LONGEST) * exponents)  # (B, width / 2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
