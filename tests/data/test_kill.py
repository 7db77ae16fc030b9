"""kill -9 of writers at random points, then again: the shards are those of an undisturbed run, byte for byte."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import trimesh
from tests.data.make import latent_sample

from fieldforge.data.manifest import write_manifest
from fieldforge.data.schema import LATENT
from fieldforge.data.writer import ShardWriter

ROOT = Path(__file__).resolve().parents[2]
KILLS_OF_PREPARE = int(os.environ.get("FIELDFORGE_KILLS", "1"))  # each costs two starts of a process; 20 take minutes


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_slowly(folder: Path, pause: float) -> None:
    """A run that encodes latents: a new process each time, finished shards kept."""
    with ShardWriter(folder, LATENT, {}, samples_per_shard=5, split="train") as writer:
        for number in range(42):
            key = f"s{number:03d}"
            if key not in writer.finished_keys:
                time.sleep(pause)
                writer.write(key, latent_sample(key, tokens=200, channels=64))
    write_manifest(folder, LATENT, {}, writer.entries)


def test_writer_killed_twenty_times_leaves_the_same_bytes(tmp_path: Path) -> None:
    write_slowly(tmp_path / "undisturbed", 0.0)
    draw = random.Random(0)
    killed = 0
    while killed < 20:
        process = multiprocessing.get_context("fork").Process(target=write_slowly, args=(tmp_path / "killed", 0.002))
        process.start()
        time.sleep(draw.uniform(0.0, 0.03))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert not list((tmp_path / "killed").glob("manifest.json")) or process.exitcode == 0
        if process.exitcode == 0:  # it got to the end: once more from the start
            for path in (tmp_path / "killed").iterdir():
                path.unlink()
    write_slowly(tmp_path / "killed", 0.0)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def prepare(meshes: Path, output: Path) -> subprocess.Popen:
    small = [
        "surface.points=256", "distance.near_points=256", "distance.volume_points=256", "views.count=2",
        "views.size=16", "samples_per_shard=2",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "prepare.py"), "source=folder", f"source.path={meshes}", f"output={output}"]
    command += ["workers=2", *(f"preparation.{setting}" for setting in small)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=output.parent)


def test_prepare_killed_at_random_points_leaves_the_same_bytes(tmp_path: Path) -> None:
    meshes = tmp_path / "meshes"
    meshes.mkdir()
    for number in range(7):
        trimesh.creation.box((1, 0.5 + 0.1 * number, 1)).export(meshes / f"box_{number}.obj")
    started = time.monotonic()
    undisturbed = prepare(meshes, tmp_path / "undisturbed")
    assert undisturbed.wait(timeout=300) == 0, undisturbed.stderr.read()  # type: ignore[union-attr]
    duration = time.monotonic() - started
    draw = random.Random(0)
    killed = 0
    for number in range(KILLS_OF_PREPARE):
        process = prepare(meshes, tmp_path / "killed")
        try:
            # The first half of a run is imports, so the later part is where there is something to lose.
            process.wait(timeout=draw.uniform(0.4, 1.0) * duration)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            if number % 3 == 2:  # start anew now and then, or everything is done after a few
                subprocess.run(["rm", "-r", str(tmp_path / "killed")], check=False)
    again = prepare(meshes, tmp_path / "killed")
    assert again.wait(timeout=300) == 0, again.stderr.read()  # type: ignore[union-attr]
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    assert killed >= KILLS_OF_PREPARE // 2
