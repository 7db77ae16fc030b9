"""Which precision is the fastest on this machine: bfloat16 where its products take less time than float32's."""

from __future__ import annotations

import platform
import time
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import linear

from fieldforge.nn.arithmetic import Arithmetic
from fieldforge.training.processes import ranks
from fieldforge.training.settings import ComputationSettings

_SIZES = (1024, 512, 512)  # rows, inputs, outputs: a product of some milliseconds
_ROUNDS = 8
_GAIN = 1.2  # casts cost something too


def best_precision(gpu: bool) -> str:
    """bf16-mixed where bfloat16 is faster, else 32-true."""
    return "bf16-mixed" if bfloat16_is_faster(gpu) else "32-true"


def best_matmul(gpu: bool) -> str:
    """How `torch.set_float32_matmul_precision` lets float32 multiply: medium where bfloat16 is faster, else highest."""
    return "medium" if bfloat16_is_faster(gpu) else "highest"


def arithmetic_of(settings: ComputationSettings, device: torch.device) -> Arithmetic:
    """How a sampler's networks compute on a device.

    "auto" is exact on a CPU, whichever is faster there: a seed gives the same bytes, today and on the next CPU.
    """
    gpu = device.type == "cuda"
    precision, matmul = (best_precision(gpu), best_matmul(gpu)) if gpu else ("32-true", "highest")
    return Arithmetic(
        device.type,
        precision if settings.precision == "auto" else settings.precision,
        matmul if settings.matmul == "auto" else settings.matmul,
        settings.compile,
    )


def bfloat16_is_faster(gpu: bool) -> bool:
    """Whether products in bfloat16 take less time than in float32, on the first process's device. A collective.

    A GPU says whether it has them. A CPU is measured: those with AMX tiles gain, and of those with AVX-512 BF16 alone
    some take half of float32's time and some twice as long (`benchmarks/precision.py`).
    """
    if gpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(ranks.of_first(float(_cpu_gains())))


@cache
def _cpu_gains() -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return False
    rows, inputs, outputs = _SIZES
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    rounded = (x.bfloat16(), weight.bfloat16())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other, and that counts as processor time
    try:
        costs = [(_seconds(x, weight), _seconds(*rounded)) for _ in range(_ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    exact, short = map(min, zip(*costs, strict=True))
    return short * _GAIN < exact


def _seconds(x: Tensor, weight: Tensor) -> float:
    """Processor seconds of a product: other work on the machine does not count."""
    start = time.process_time()
    linear(x, weight)
    return time.process_time() - start
