"""`make demo` on a machine that others use: its budgets are steps, and other work changes nothing of what it makes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hydra import compose, initialize_config_dir
from tests.runs.conftest import ROOT, Place

from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import run_training

SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with the test, whatever happens


def commands() -> list[list[str]]:
    """Words of each command of `make demo`."""
    recipe = (ROOT / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0]
    return [line.split()[1:] for line in recipe.splitlines() if line.startswith("\t")]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_its_training_ends_after_steps_and_no_minutes():
    trainings = [words[1:] for words in commands() if words[0] == "train.py"]
    assert trainings
    for words in trainings:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose("train", words)
        budget = config.training[config.stages[-1]].budget  # the stages before it use what the weights hold
        assert budget.max_minutes is None
        assert budget.max_steps <= 300


def test_other_work_changes_nothing_of_a_training_in_steps(balls, tmp_path):
    weights = []
    for folder, count in (("alone", 0), ("beside", 2)):
        (tmp_path / folder).mkdir()
        with busy_processes(count):
            stages = run_training(Place(balls, tmp_path / folder).compose("callbacks.pictures=null"))
        weights.append(torch.load(stages["diffusion"].path / "model.ckpt", weights_only=True)["state_dict"])
    alone, beside = weights
    assert alone.keys() == beside.keys()
    assert all(torch.equal(alone[name], beside[name]) for name in alone)
