"""How fast this CPU multiplies matrices: float32 as it is, float32 that torch may round to bfloat16, and bfloat16.

    python benchmarks/precision.py [--threads 1]      # prints billions of operations for each second of the processor

`trainer.precision=auto` and `trainer.matmul=auto` compare the first with the last in a few milliseconds.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

SIZES = ((2048, 256, 1024), (16384, 128, 128), (4096, 1024, 1024))  # rows, inputs, outputs
REPEATS, ROUNDS = 5, 6


def processor_seconds(product: Callable[[], Tensor]) -> float:
    """The cheapest of some rounds, after one to warm up."""
    costs = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        for _ in range(REPEATS):
            product()
        costs.append((time.process_time() - start) / REPEATS)
    return min(costs[1:])


def rates(rows: int, inputs: int, outputs: int) -> dict[str, float]:
    x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    rounded = (x.bfloat16(), weight.bfloat16())
    operations = 2 * rows * inputs * outputs
    costs = {}
    for name, matmul, values in (
        ("highest", "highest", (x, weight)),
        ("medium", "medium", (x, weight)),
        ("bfloat16", "highest", rounded),
    ):
        torch.set_float32_matmul_precision(matmul)
        costs[name] = processor_seconds(lambda values=values: linear(*values))  # type: ignore[misc]
    return {name: operations / cost for name, cost in costs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    print(f"AMX tiles: {torch.cpu._is_amx_tile_supported()}, AVX-512 BF16: {torch.cpu._is_avx512_bf16_supported()}")
    for size in SIZES:
        cells = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates(*size).items())
        print(f"{' × '.join(map(str, size))}: {cells}")


if __name__ == "__main__":
    main()
