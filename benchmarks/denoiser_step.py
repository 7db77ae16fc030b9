"""Training step of Shap-E's full-size denoiser on the CPU: this project's formulation against Shap-E's own.

    python benchmarks/denoiser_step.py              # about three minutes on two idle cores; last lines `ratio, …`

Both sides are the text-conditional denoiser of Shap-E's released configuration (24 layers, width 1024, 16 heads, 1,024
latent tokens + one for the noise level + one for the condition, 302 M parameters in the blocks), batch 1; a step is
noising, forward, loss and backward. The optimizer, the same for both, is left out.

- reference: float32, attention as two einsums around a float32 softmax, the attention core recomputed in the backward
  pass; written here after the paper and the released configuration.
- ours: `fieldforge`'s `InContext` backbone in float32 and under bfloat16 autocast, nothing recomputed.

Sides step in turns, see `sides.py`. Before the clock runs, the two are given the same small weights and must agree.
"""

import argparse
import math
import os
from collections.abc import Callable
from typing import Any

import torch
from sides import by_turns, products_of_trainings, serve
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.in_context import InContext
from fieldforge.diffusion.loss import denoising_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import PredictData
from fieldforge.diffusion.weighting import UniformData
from fieldforge.noise.processes import Exponential

FULL = dict(tokens=1024, channels=1024, width=1024, layers=24, heads=16, condition_width=768)
SMALL = dict(tokens=16, channels=8, width=32, layers=3, heads=4, condition_width=8)
SIDES = ("reference", "ours, float32", "ours, bfloat16")


class UnfusedAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_out(checkpoint(self.core, self.to_qkv(x), use_reentrant=False))

    def core(self, qkv: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in qkv.chunk(3, dim=-1))  # (B, T, heads, c) each
        scale = q.shape[-1] ** -0.25
        logits = torch.einsum("bthc,bshc->bhts", q * scale, k * scale)
        weights = torch.softmax(logits.float(), dim=-1).to(logits.dtype)
        return torch.einsum("bhts,bshc->bthc", weights, v).flatten(2)


class UnfusedBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = UnfusedAttention(width, heads)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_attention(x))
        return x + self.feed(self.norm_feed(x))


class UnfusedBackbone(InContext):
    """`InContext` with its transformer replaced: same parameters, same names."""

    def __init__(self, **sizes: Any):
        super().__init__(**sizes)
        blocks = [UnfusedBlock(sizes["width"], sizes["heads"]) for _ in range(sizes["layers"])]
        self.transformer.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        assert condition.vector is not None
        first = [self.embed_noise_level(noise_level)[:, None], self.embed_vector(condition.vector)[:, None]]
        sequence = self.first_norm(torch.cat([*first, self.embed(x) + self.positions], dim=1))
        for block in self.transformer.blocks:
            sequence = block(sequence)
        return self.project(self.final_norm(sequence[:, -self.tokens :]))


def build(side: str, sizes: dict[str, Any]) -> DiffusionModel:
    torch.manual_seed(0)
    backbone = UnfusedBackbone(**sizes) if side == SIDES[0] else InContext(**sizes)
    nn.init.normal_(backbone.project.weight, std=0.02)  # a zero output would leave the blocks without gradient
    return DiffusionModel(backbone, Exponential(12.0), PredictData())


def full_step(side: str) -> Callable[[], Tensor]:
    """A step of the full size: of the reference, or of ours in one precision."""
    model = build(side, FULL)
    if side != SIDES[0]:
        products_of_trainings()
    return lambda: step(model, FULL, autocast=side == "ours, bfloat16")


def step(model: DiffusionModel, sizes: dict[str, int], autocast: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(1, sizes["tokens"], sizes["channels"], generator=generator) for _ in range(2))
    condition = Condition(vector=torch.randn(1, sizes["condition_width"], generator=generator))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = denoising_loss(model, x0, noise, torch.tensor([0.3]).double(), condition, UniformData()).mean()
    model.zero_grad(set_to_none=True)
    loss.backward()
    return loss.detach()


def check_same_function() -> None:
    ours, reference = build(SIDES[1], SMALL), build(SIDES[0], SMALL)
    reference.load_state_dict(ours.state_dict())
    losses = [float(step(model, SMALL, autocast=False)) for model in (ours, reference)]
    assert math.isclose(*losses, rel_tol=1e-4), losses
    for (name, a), b in zip(ours.named_parameters(), reference.parameters(), strict=True):
        if a.grad is not None and b.grad is not None:
            assert (a.grad - b.grad).norm() <= 1e-4 * b.grad.norm() + 1e-7, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="steps of each side, after one to warm up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return serve(full_step(arguments.side), arguments.threads)
    check_same_function()
    costs = by_turns(__file__, [], SIDES, arguments.rounds, arguments.threads)
    for side, cost in costs.items():
        print(f"{side:20} {cost.cpu:.2f} CPU s, elapsed {cost.seconds:.2f} s, peak memory {cost.peak:.1f} GiB")
    for side in SIDES[1:]:
        print(f"ratio, {side}: {costs[SIDES[0]].cpu / costs[side].cpu:.2f}")


if __name__ == "__main__":
    main()
