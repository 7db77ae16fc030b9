"""A training step beside other work: threads that give their core away at once against threads that spin.

    python benchmarks/busy_machine.py [--busy 4]        prints `ratio: …` last; half a minute

Both sides run the same small network with as many threads as there are cores, each in a process of its own, one at a
time and by turns, beside `--busy` processes that compute all the time. With --busy 0 the ratio says what it costs on a
machine that does nothing else. Elapsed time is what counts here: it is what somebody waits for.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

STEPS = """
import time, torch
from torch import nn
layers = [nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.LayerNorm(256)) for _ in range(6)]
network, x = nn.Sequential(*layers), torch.randn(2048, 256)
network(x).sum().backward()
began, steps = time.monotonic(), 0
while time.monotonic() - began < 4:
    network(x).sum().backward()
    steps += 1
print(steps / (time.monotonic() - began))
"""
BUSY = "while True: pass"


def steps_per_second(**environment: str) -> float:
    """Of one process, with these variables besides."""
    command = [sys.executable, "-c", STEPS]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return float(result.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(options.busy)]
    try:
        ratios = []
        for number in range(options.rounds):
            yielding, spinning = steps_per_second(GOMP_SPINCOUNT="10000"), steps_per_second()
            ratios.append(yielding / spinning)
            print(f"round {number + 1}: {yielding:.2f} steps a second, {spinning:.2f} where threads spin", flush=True)
    finally:
        for process in others:
            process.kill()
            process.wait()
    print(f"ratio: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
