"""Two or more ways to do the same, each in a process of its own, which take their steps in turns.

Each side's cheapest step counts, in processor seconds over all threads: a busy machine disturbs these least, and idle
threads do not spin. Peak memory is that of its process. All sides get the same threads. What they take of memory they
keep, or (`own_memory`) each has it as its users do: from the C library as it is, ours with `runs.large_pages`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from memory import peak_mb

from fieldforge.runs import large_pages
from fieldforge.training.processes.precision import best_matmul

# Large temporaries stay with the process: else half of the time goes into mapping pages, on every side.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**28),
}


@dataclass(frozen=True)
class Cost:
    """The cheapest step of a side: processor seconds, elapsed seconds, peak memory in GiB."""

    cpu: float
    seconds: float
    peak: float


def products_of_trainings() -> None:
    """Set how float32 multiplies, as `trainer.matmul=auto` does."""
    torch.set_float32_matmul_precision(best_matmul(gpu=False))


def serve(step: Callable[[], object], threads: int) -> None:
    """A side: takes a step whenever a line comes in, and answers with its cost."""
    torch.set_num_threads(threads)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        cost = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak_mb() / 1024}
        print(json.dumps(cost), flush=True)


def by_turns(
    script: str, arguments: Sequence[str], sides: Sequence[str], rounds: int, threads: int, own_memory: bool = False
) -> dict[str, Cost]:
    """Costs of the sides that `script` serves with `arguments` and `--side <name>`, after one step each to warm up."""
    command = [sys.executable, script, *arguments, "--threads", str(threads), "--side"]

    def environment(side: str) -> dict[str, str]:
        own = large_pages.SETTINGS if side.startswith("ours") else {}
        return os.environ | (own if own_memory else ALLOCATOR) | {"OMP_WAIT_POLICY": "passive"}

    processes = {
        side: subprocess.Popen(
            [*command, side], text=True, env=environment(side), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for side in sides
    }
    costs: dict[str, list[Cost]] = {side: [] for side in sides}
    for process in processes.values():
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit(f"a side of {script} {' '.join(arguments)} did not start")
    for turn in range(rounds + 1):
        for side, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise SystemExit(f"{side}: this side failed")
            cost = Cost(**json.loads(answer))
            if turn:
                costs[side].append(cost)
            note = "" if turn else "  (warm-up)"
            print(f"{side:20} {cost.seconds:6.2f} s  {cost.cpu:6.2f} CPU s{note}", flush=True)
    for process in processes.values():
        process.communicate()
    return {
        side: Cost(min(cost.cpu for cost in own), min(cost.seconds for cost in own), max(cost.peak for cost in own))
        for side, own in costs.items()
    }
