"""Training step of Shap-E's full-size denoiser on the CPU: this project's formulation against Shap-E's own.

    python benchmarks/denoiser_step.py              # about two minutes on two idle cores; last line `ratio: …`

Both sides are the text-conditional denoiser of Shap-E's released configuration (24 layers, width 1024, 16 heads, 1,024
latent tokens + one for the noise level + one for the condition, 302 M parameters in the blocks), batch 1; a step is
noising, forward, loss and backward. The optimizer, the same for both, is left out.

- reference: float32, attention as two einsums around a float32 softmax, the attention core recomputed in the backward
  pass; written here after the paper and the released configuration.
- ours: `fieldforge`'s `InContext` backbone under bfloat16 autocast, nothing recomputed.

Each side has a process of its own, so that peak memory is its own too; the parent lets them step in turns and takes
each side's cheapest step, in processor seconds over all threads: a busy machine disturbs these least, and idle threads
do not spin. Elapsed seconds stand beside. Both get the same allocator settings and threads. Before the clock runs, the
two are given the same small weights and must agree.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from typing import Any

import torch
from memory import peak_mb
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
# Large temporaries stay with the process: else half of the time goes into mapping pages, on both sides.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**28),
}


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
    backbone = UnfusedBackbone(**sizes) if side == "reference" else InContext(**sizes)
    nn.init.normal_(backbone.project.weight, std=0.02)  # a zero output would leave the blocks without gradient
    return DiffusionModel(backbone, Exponential(12.0), PredictData())


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
    ours, reference = build("ours", SMALL), build("reference", SMALL)
    reference.load_state_dict(ours.state_dict())
    losses = [float(step(model, SMALL, autocast=False)) for model in (ours, reference)]
    assert math.isclose(*losses, rel_tol=1e-4), losses
    for (name, a), b in zip(ours.named_parameters(), reference.parameters(), strict=True):
        if a.grad is not None and b.grad is not None:
            assert (a.grad - b.grad).norm() <= 1e-4 * b.grad.norm() + 1e-7, name


def worker(side: str, threads: int) -> None:
    """Steps whenever a line comes in; answers with seconds, CPU seconds and peak memory."""
    torch.set_num_threads(threads)
    model = build(side, FULL)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = float(step(model, FULL, autocast=side == "ours"))
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak_mb() / 1024
        print(json.dumps({"seconds": seconds, "cpu": cpu_seconds, "peak": peak, "loss": loss}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="steps of each side, after one to warm up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--worker", choices=["reference", "ours"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.worker, arguments.threads)

    check_same_function()
    command = [sys.executable, __file__, "--threads", str(arguments.threads), "--worker"]
    environment = os.environ | ALLOCATOR | {"OMP_WAIT_POLICY": "passive"}
    sides = {
        side: subprocess.Popen(
            [*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for side in ("reference", "ours")
    }
    results: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for process in sides.values():
        assert process.stdout is not None
        process.stdout.readline()
    for turn in range(arguments.rounds + 1):
        for side, process in sides.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if turn:
                results[side].append(answer)
            note = "" if turn else "  (warm-up)"
            print(f"{side:9} {answer['seconds']:6.2f} s  {answer['cpu']:6.2f} CPU s{note}", flush=True)
    for process in sides.values():
        process.communicate()
    cheapest = {side: min(answer["cpu"] for answer in answers) for side, answers in results.items()}
    for side, answers in results.items():
        seconds, peak = min(answer["seconds"] for answer in answers), max(answer["peak"] for answer in answers)
        print(f"{side:9} {cheapest[side]:.2f} CPU s, elapsed {seconds:.2f} s, peak memory {peak:.1f} GiB")
    print(f"ratio: {cheapest['reference'] / cheapest['ours']:.2f}")


if __name__ == "__main__":
    main()
