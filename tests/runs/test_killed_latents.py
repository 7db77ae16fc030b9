"""SIGKILL of real `train.py` processes while they encode latents: the latent shards are those of an undisturbed run.

Four starts of a process make this slow.
"""

import random
import shutil
import signal
import time
from pathlib import Path

from tests.runs.conftest import Place
from tests.runs.forked import Forked
from tests.runs.tiny import write_balls

from fieldforge.runs.train import run_training

KILLS, MOST_STARTS = 2, 6
LATENTS = "stages=[autoencoder,latents]"


def finish(process: Forked) -> None:
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr


def folders(place: Place) -> list[Path]:
    return list(place.outputs.glob("tiny/*/latents/*"))


def contents(place: Place) -> dict[str, bytes]:
    [folder] = folders(place)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_killed_while_encoding(tmp_path: Path) -> None:
    data = write_balls(tmp_path / "balls", train=530)  # three shards of latents
    undisturbed, disturbed = Place(data, tmp_path / "undisturbed"), Place(data, tmp_path / "disturbed")
    undisturbed.outputs.mkdir()
    run_training(undisturbed.compose("stages=[autoencoder]"))
    shutil.copytree(undisturbed.outputs, disturbed.outputs)
    run_training(undisturbed.compose(LATENTS))
    written = [path.stat().st_mtime for path in folders(undisturbed)[0].iterdir()]
    duration = max(written) - min(written)  # from the first shard, which holds few, to the manifest
    draw, hits = random.Random(0), 0
    for _ in range(MOST_STARTS):
        process = disturbed.start(LATENTS)
        while process.poll() is None and not folders(disturbed):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, duration / 2))  # finished shards stay, so later runs have less to do
        process.kill()
        process.communicate(timeout=60)
        unfinished = not any((folder / "manifest.json").exists() for folder in folders(disturbed))
        hits += process.returncode == -signal.SIGKILL and unfinished
        if hits == KILLS:
            break
        if not unfinished:  # it was done: there must be something to kill
            shutil.rmtree(folders(disturbed)[0])
    assert hits == KILLS
    finish(disturbed.start(LATENTS))
    assert contents(disturbed) == contents(undisturbed)
    shutil.rmtree(folders(disturbed)[0])
    finish(disturbed.start(LATENTS, "trainer.devices=2", "trainer.accelerator=cpu"))
    assert contents(disturbed) == contents(undisturbed)  # two processes write what one writes
