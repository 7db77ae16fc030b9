"""The figures of this machine that a plan asks for, from training steps of reference networks."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fieldforge.nn.arithmetic import products
from fieldforge.nn.ema import EMA, PlainDecay
from fieldforge.planning.kernels import Kernels
from fieldforge.training.processes.checkpoints import save_atomically
from fieldforge.training.processes.precision import best_matmul


def median_of(work: Callable[[], Any], times: int = 7) -> float:
    """Processor seconds, after one to warm up."""
    costs = []
    for _ in range(times + 1):
        start = time.process_time()
        work()
        costs.append(time.process_time() - start)
    return statistics.median(costs[1:])


def transformer(width: int, layers: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(width, max(1, width // 64), 4 * width, 0.0, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def convolutions(width: int, layers: int) -> nn.Module:
    """A chain of norm, activation and convolution, as residual networks have them."""
    block = lambda: nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))  # noqa: E731
    return nn.Sequential(*(block() for _ in range(layers)))


@dataclass
class Reference:
    """A network of PyTorch's own, with AdamW and a moving average, that is none of this project.

    Args:
        seconds: of a training step.
        kernels: of it, see `planning.kernels`.
    """

    seconds: float
    kernels: np.ndarray

    @staticmethod
    def measured(network: nn.Module, *shape: int) -> Reference:
        optimizer, average = torch.optim.AdamW(network.parameters()), EMA(network, PlainDecay(0.99))
        x = torch.randn(shape)

        def step() -> None:
            optimizer.zero_grad()
            network(x).square().mean().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            average.update(network, 1)

        step()
        with Kernels() as kernels:
            step()
        return Reference(median_of(step), kernels.rows)

    def planned(self, peak: float, bandwidth: float, launch: float, convolution: float = 1.0) -> float:
        """Seconds as the plan of a CPU has them; `convolution`: the share of the peak that convolutions reach."""
        operations, moved, *_, convolves = self.kernels.T
        reached = np.where(convolves > 0, convolution, 1) * peak
        return float((operations / reached).sum() + moved.sum() / bandwidth + launch * len(self.kernels))


def figures_of(tiny: Reference, wide: Reference, deep: Reference, vision: Reference) -> dict[str, float]:
    """Figures of a machine on which the references take what they take."""
    launch = tiny.seconds / len(tiny.kernels)
    peak, bandwidth = 1e11, 1e10
    for _ in range(20):
        peak = solved(lambda value: wide.planned(value, bandwidth, launch), wide.seconds)  # noqa: B023
        bandwidth = solved(lambda value: deep.planned(peak, value, launch), deep.seconds)  # noqa: B023
    speed = solved(lambda value: vision.planned(peak, bandwidth, launch, value / peak), vision.seconds)
    return {
        "peak_flops": peak,
        "bandwidth": bandwidth,
        "launch_seconds": launch,
        "convolution_utilisation": min(1.0, speed / peak),
    }


def many_tokens() -> Reference:
    """What the peak is solved from."""
    return Reference.measured(transformer(512, 2), 8, 64, 512)


def many_pixels() -> Reference:
    """What the speed of convolutions is solved from."""
    return Reference.measured(convolutions(64, 4), 8, 64, 64, 64)


def exact_figures(figures: dict[str, float]) -> dict[str, float]:
    """Those of the arithmetic that encodes latents, which is the same on every CPU."""
    rest = figures["bandwidth"], figures["launch_seconds"]
    with products("highest"):
        wide, vision = many_tokens(), many_pixels()
    peak = solved(lambda value: wide.planned(value, *rest), wide.seconds)
    speed = solved(lambda value: vision.planned(peak, *rest, value / peak), vision.seconds)
    return {"float32_flops": peak, "float32_convolution_utilisation": speed / peak}


def solved(seconds: Callable[[float], float], target: float) -> float:
    """The speed at which a falling number of seconds is the target, by bisection."""
    low, high = 1e8, 1e13
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if seconds(middle) > target else (low, middle)
    return math.sqrt(low * high)


def machine() -> dict[str, float]:
    """This machine's figures for one thread, in the arithmetic that trainings choose."""
    with products(best_matmul(gpu=False)):
        tiny, deep = Reference.measured(transformer(8, 6), 1, 2, 8), Reference.measured(transformer(512, 6), 1, 16, 512)
        wide = many_tokens()
        figures = figures_of(tiny, wide, deep, many_pixels())
    figures |= exact_figures(figures)
    with tempfile.TemporaryDirectory() as folder:
        small = {str(number): torch.randn(8) for number in range(500)}
        figures["tensor_seconds"] = median_of(lambda: save_atomically(small, Path(folder) / "small.ckpt")) / len(small)
    return figures


def writing_speed(size: int, place: Path) -> float:
    """Bytes a second of processor time with which a file of a hundred tensors of `size` bytes in all is written."""
    tensors = {str(number): torch.ones(max(1, size // 400)) for number in range(100)}  # zeros may have no pages
    start = time.process_time()
    save_atomically(tensors, place)
    seconds = time.process_time() - start
    place.unlink()
    return 100 * tensors["0"].nbytes / seconds
