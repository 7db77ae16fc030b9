"""The planned memory against that of a real training, measured in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.planning.train_and_measure import LATENT_SHAPE, composed
from tests.runs.tiny import write_balls

from fieldforge.planning import plan
from fieldforge.planning.estimate import StagePlan
from fieldforge.planning.step_cost import memory_ddp

ROOT = Path(__file__).resolve().parents[2]
COMMON = [
    "experiment=shape_latent",
    "conditioner=class",
    "conditioner.classes=[red,green,blue]",
    "trainer=cpu",
    "trainer.precision=32-true",
    "data.num_workers=0",
    "latent_data.num_workers=0",
    "data.heldout_batch_size=4",
    "latent_data.heldout_batch_size=8",
    "monitor.validate_every=2",
    "monitor.validation_batches=1",
    "backbone.group=4",
    *(
        f"training.{stage}.{setting}"
        for stage, size in (("autoencoder", 4), ("diffusion", 8))
        for setting in (f"batch_size={size}", "budget.max_steps=2", "budget.max_minutes=null")
    ),
]


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_planned_memory_is_that_of_a_real_training(stage, tmp_path):
    overrides = [*COMMON, f"data.root={write_balls(tmp_path / 'balls')}"]
    stages = "[autoencoder]" if stage == "autoencoder" else "[autoencoder,latents,diffusion]"
    bill = plan.make_plan(composed([*overrides, f"stages={stages}"]))
    [planned] = [part for part in bill.stages if isinstance(part, StagePlan) and part.name == stage]
    command = [sys.executable, str(ROOT / "tests/planning/train_and_measure.py"), stage, *overrides]
    # glibc keeps freed blocks below a threshold that grows to 32 MB, a fifth of the whole here; fixed, they go back.
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])["bytes"]
    expected = sum(memory_ddp(planned.cost, world=1).values())
    print(f"{stage}: planned {expected / 2**20:.0f} MiB, measured {measured / 2**20:.0f} MiB")
    assert measured > 250 * 2**20  # much more than what the interpreter does by the way
    assert expected == pytest.approx(measured, rel=0.2)


def test_latents_of_the_measured_training_are_the_planned_ones():
    [autoencoder] = [composed(COMMON).autoencoder]
    assert (3 * autoencoder.encoder.cells**2, autoencoder.encoder.channels) == LATENT_SHAPE[:2]
