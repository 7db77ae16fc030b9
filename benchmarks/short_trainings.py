"""What benchmarks of equal short trainings share: they train and measure by commands, and write a table into a page."""

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONE_THREAD = {"PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
"""Environment of trainings on one thread, which may use parts of the benchmarks."""


def run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    """Runs a command of this checkout with this Python. CalledProcessError where it fails."""
    print("$", *command, flush=True)
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env={**os.environ, **(environment or {})})


def finished_models(name: str) -> list[Path]:
    """`model.ckpt` of the finished runs of that name, the newest last."""
    return sorted((ROOT / "outputs" / name).glob("*/model.ckpt"), key=lambda path: path.stat().st_mtime)


def newest_model(name: str) -> Path:
    """`model.ckpt` of the newest finished run of that name."""
    return finished_models(name)[-1]


def steps_of(directory: Path) -> int:
    """Steps of the training in a run's directory."""
    with open(directory / "metrics.csv", newline="") as file:
        return max(int(row["step"]) for row in csv.DictReader(file))


def write_between(page: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    """Prints the lines and puts them between two marks of a page."""
    print("\n".join(lines))
    before, rest = page.read_text().split(begin)
    page.write_text("\n".join([before + begin, *lines, end]) + rest.split(end)[1])
