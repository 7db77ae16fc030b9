"""kill -9 of a shard writer at random points, then again: the shards are those of an undisturbed run, byte for byte.

`prepare.py` and `train.py` as processes of their own: tests/preparation/test_kill_prepare.py, tests/runs.
"""

import multiprocessing
import random
import signal
import time
from pathlib import Path

from tests.data.make import latent_sample

from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.writer import ShardWriter


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
