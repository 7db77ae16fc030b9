"""Seconds until a command's first line, and from its last line to its end.

python benchmarks/startup.py       prepare, train, sample and evaluate in their smallest form, beside `import torch`

The first line is what tells somebody at a terminal that it runs. Another machine, or a busy one, is slower in all of
it: the ratio to `python -c "import torch"`, measured in between, is what compares.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trimesh

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    f"hydra.searchpath=[file://{ROOT}/tests/configs]", "experiment=tiny", "conditioner=class", "data.num_workers=0",
]  # fmt: skip
NAMES = ("chair", "table", "lamp", "sofa", "stool", "wardrobe", "bed", "shelf", "bench", "desk", "cupboard", "mirror")
REPEATS = 3


def timed(*arguments: str) -> tuple[float, float, float]:
    """Seconds to the first line of stdout or stderr, from the last one to the end, and of all."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    times = []
    for line in process.stdout:
        lines.append(line.decode())
        times.append(time.monotonic())
    process.wait()
    end = time.monotonic()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{''.join(lines)}")
    return (times[0] - start, end - times[-1], end - start) if times else (0.0, 0.0, end - start)


def report(name: str, measured: list[tuple[float, float, float]], torch_seconds: float) -> None:
    first, last, whole = (statistics.median(values) for values in zip(*measured, strict=True))
    print(
        f"{name:9} first line {first:5.2f} s ({first / torch_seconds:4.2f} of import torch), "
        f"after the last {last:5.2f} s ({last / torch_seconds:4.2f}), {whole:6.2f} s in all"
    )


def main() -> None:
    torch_seconds = statistics.median(timed("-c", "import torch")[2] for _ in range(REPEATS))
    print(f"import torch {torch_seconds:.2f} s")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "meshes").mkdir()
        for name in NAMES:
            trimesh.creation.box((1, 0.1 * len(name), 1)).export(folder / "meshes" / f"{name}.obj")
        shards, outputs = folder / "shards", folder / "outputs"
        source = [
            "source=folder",
            f"source.path={folder}/meshes",
            "preparation=embedded",
            "preparation.heldout_share=0.3",
        ]
        train = [*SMALL, f"data.root={shards}", f"output_dir={outputs}"]
        commands = {
            "prepare": lambda repeat: ["prepare.py", *source, f"output={shards}{repeat or ''}"],
            "train": lambda repeat: ["train.py", *train, f"seed={repeat}"],
            "sample": lambda repeat: ["sample.py", f"output_dir={outputs}", "n=1", "resolution=16"],
            "evaluate": lambda repeat: [
                "evaluate.py", f"output_dir={outputs}", "prompts.count=1", "prompts.seeds=[0]", "prompts.guidance=[3.0]"
            ],
        }  # fmt: skip
        for command, arguments in commands.items():
            report(command, [timed(*arguments(repeat)) for repeat in range(REPEATS)], torch_seconds)


if __name__ == "__main__":
    main()
