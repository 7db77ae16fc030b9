"""kill -9 of real `prepare.py` processes, four times in one preparation: its shards are those of an undisturbed one.

Six starts of a process, and of the pool of workers behind it, make this slow.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import trimesh

ROOT = Path(__file__).resolve().parents[2]
KILLS, MOST_STARTS = 4, 12
ASSETS = 16
SMALL = [
    "surface.points=64", "distance.near_points=64", "distance.volume_points=64", "views.count=2", "views.size=16",
    "samples_per_shard=2", "heldout_share=0.3",
]  # fmt: skip


def start(meshes: Path, output: Path) -> subprocess.Popen:
    """prepare.py on two workers, leader of a process group."""
    command = [sys.executable, str(ROOT / "prepare.py"), "source=folder", f"source.path={meshes}", f"output={output}"]
    command += ["workers=2", *(f"preparation.{setting}" for setting in SMALL)]
    with open(output.with_suffix(".log"), "a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=output.parent, process_group=0)


def finish(meshes: Path, output: Path) -> dict[str, bytes]:
    """Runs to the end; every file by its path."""
    assert start(meshes, output).wait(timeout=300) == 0, output.with_suffix(".log").read_text()
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def progress(output: Path) -> int:
    """Assets and shards that are on disk."""
    return sum(1 for pattern in (".staging/*/*/*.tar", ".staging/*/*/*.json", "*.tar") for _ in output.glob(pattern))


def killed(process: subprocess.Popen, output: Path, target: int, longest: float, wait: float, group: bool) -> bool:
    """Whether SIGKILL met the process before it was done: `wait` s after `target` files, or after `longest` s."""
    latest = time.monotonic() + longest
    while process.poll() is None and progress(output) < target and time.monotonic() < latest:
        time.sleep(0.005)
    time.sleep(wait)
    if process.poll() is None:
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL and not (output / "manifest.json").exists()


def test_killed_four_times_leaves_the_same_bytes(tmp_path: Path) -> None:
    """At random points of starting, of making assets and of writing shards; the process alone, or with its workers.

    Workers whose parent is killed alone go on for a moment beside those of the next run.
    """
    meshes = tmp_path / "meshes"
    meshes.mkdir()
    for number in range(ASSETS):
        trimesh.creation.box((1, 0.5 + 0.1 * number, 1)).export(meshes / f"box_{'abcdefghijklmnop'[number]}.obj")
    (meshes / "broken.obj").write_text("f 1 2 3\n")  # is rejected
    undisturbed = finish(meshes, tmp_path / "undisturbed")
    assert sum(name.endswith(".tar") for name in undisturbed) >= ASSETS // 2
    output, draw = tmp_path / "killed", random.Random(0)
    asked_to_stop = start(meshes, output)
    while progress(output) < 1 and asked_to_stop.poll() is None:
        time.sleep(0.01)
    asked_to_stop.send_signal(signal.SIGTERM)
    assert asked_to_stop.wait(timeout=60) == 85
    assert "stopped by SIGTERM: state is saved, the same command goes on" in output.with_suffix(".log").read_text()
    hits: list[tuple[int, bool]] = []
    for _ in range(MOST_STARTS):
        before, group = progress(output), draw.random() < 0.5
        target = before + draw.randint(0, 2)
        longest = draw.uniform(0, 1.5) if target == before else 120.0
        if killed(start(meshes, output), output, max(1, target), longest, draw.uniform(0, 0.01), group):
            hits.append((progress(output), group))
        if len(hits) == KILLS:
            break
        if (output / "manifest.json").exists():  # that one was done: there must be something to kill
            subprocess.run(["rm", "-r", str(output)], check=True)
    assert len(hits) == KILLS
    assert {group for _, group in hits} == {False, True}
    assert len({reached for reached, _ in hits}) >= 3  # at many points of the work
    assert finish(meshes, output) == undisturbed
