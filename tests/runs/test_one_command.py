"""Two commands on one run: the second says who trains, and leaves what is there alone."""

import pytest
from tests.data.test_lock import end, holder
from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training


def test_a_run_is_trained_and_its_latents_are_encoded_by_one_command(place: Place):
    both = ("stages=[autoencoder,latents]", "training.autoencoder.budget.max_steps=2", "callbacks.pictures=null")
    run = run_training(place.compose(*both))["autoencoder"].path
    [latents] = (run / "latents").iterdir()
    assert not list(place.outputs.rglob(".lock"))
    (latents / "manifest.json").unlink()
    process, _ = holder(latents)  # of an autoencoder that is finished: its own folder is free
    with pytest.raises(UserError, match=f"another command writes .*{latents.name} .process {process.pid} on"):
        run_training(place.compose(*both))
    end(process)
    (run / "model.ckpt").unlink()
    before = sorted(path.name for path in run.rglob("*"))
    process, _ = holder(run)
    with pytest.raises(UserError, match=f"another command writes .*{run.name} .process {process.pid} on"):
        run_training(place.compose(*both))
    assert sorted(path.name for path in run.rglob("*")) == sorted([*before, ".lock"])
    end(process)
    run_training(place.compose(*both))  # goes on, and passes over the file of the holder that was killed
    assert (run / "model.ckpt").is_file()
