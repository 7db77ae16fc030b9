"""A finished run's samples with each `precision`, `matmul` and `compile` of sample.py, beside whole float32.

    python benchmarks/sampling_arithmetic.py pretrained [--device cuda] [--samples 4] [--rounds 3] [--threads 1]

Each side draws the same latents in turns; the cheapest round counts, in processor time on a CPU. The error is the root
mean square of the difference from float32's latents, whose variance is 1. What compilation takes is printed beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fieldforge.generation import Generator
from fieldforge.nn.arithmetic import Arithmetic
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.locate import find_diffusion
from fieldforge.training.processes.hardware import best_device

SIDES = {
    "float32": ("32-true", "highest", False),
    "matmul=medium": ("32-true", "medium", False),
    "precision=bf16-mixed": ("bf16-mixed", "medium", False),
    "compile=true": ("32-true", "highest", True),
    "precision=bf16-mixed compile=true": ("bf16-mixed", "medium", True),
}
PROMPT = "a red armchair"


def loaded(model: Path, side: str, device: str) -> Generator:
    generator, _, _ = load_diffusion(model, device=device)
    return generator.computed(Arithmetic(generator.device.type, *SIDES[side]))


def drawn(generator: Generator, count: int) -> Tensor:
    """Latents (B, T, C) on the CPU, so that a GPU's work is done."""
    batch = {"caption": [PROMPT] * count} if "caption" in generator.keys else {}
    return generator(batch, range(count), 3.0).cpu()


def seconds(clock: Callable[[], float], generator: Generator, count: int) -> float:
    start = clock()
    drawn(generator, count)
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, device = find_diffusion(arguments.run, "outputs"), best_device(arguments.device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    generators, first, errors = {}, {}, {}
    whole = drawn(loaded(model, "float32", device), arguments.samples)
    for side in SIDES:
        generators[side], start = loaded(model, side, device), time.perf_counter()
        latents = drawn(generators[side], arguments.samples)
        first[side] = time.perf_counter() - start
        errors[side] = float((latents - whole).square().mean().sqrt())
    costs: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds):
        for side, generator in generators.items():
            costs[side].append(seconds(clock, generator, arguments.samples))
    print(f"{arguments.samples} samples of {model.parent} on {device}, torch {torch.__version__}")
    print("| | share of float32's time | seconds | first time | error |\n|---|---|---|---|---|")
    for side, each in costs.items():
        share = min(each) / min(costs["float32"])
        print(f"| `{side}` | {share:.2f} | {min(each):.2f} | {first[side]:.1f} | {errors[side]:.1e} |")


if __name__ == "__main__":
    main()
