"""The average's length chosen after training is the one chosen before; from training to sample.py."""

import json
import signal
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tests.runs.conftest import Place

from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages import ema_length
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.ema_length import model_of_length, of_length
from fieldforge.training.processes.interruption import Interrupted, forget

KEEPING = [
    "callbacks=snapshots",
    "callbacks.snapshots.every_steps=5",
    "callbacks.pictures=null",
    "training.diffusion.budget.max_steps=62",  # the last average is not on the schedule
    "training.diffusion.ema.decay.std=0.15",  # what is asked for afterwards, tracked
    "trainer.precision=32-true",
]


@pytest.fixture(scope="module")
def run(balls: Path, tmp_path_factory) -> StageDirectory:
    place = Place(balls, tmp_path_factory.mktemp("kept"))
    return run_training(place.compose(*KEEPING))["diffusion"]


def weights(path: Path) -> torch.Tensor:
    """Of the backbone, one after the other."""
    state = torch.load(path, weights_only=True)["state_dict"]
    return torch.cat([value.double().flatten() for name, value in state.items() if name.startswith("model.")])


def test_length_chosen_afterwards_is_the_tracked_one(run):
    tracked = weights(run.model)
    average, other = weights(of_length(run.model, 0.15)), weights(of_length(run.model, 0.05))
    assert (average - tracked).norm() < 0.03 * (other - tracked).norm()
    kept = torch.load(run.path / "snapshots/step_000000062_std_0.050.ckpt", weights_only=True)["average"]
    checkpoint = torch.load(run.path / "model_ema_0.05.ckpt", weights_only=True)
    for name, value in kept.items():
        torch.testing.assert_close(checkpoint["state_dict"][name], value, rtol=1e-4, atol=1e-5)
    assert checkpoint["fieldforge"]["ema_length"] == 0.05
    assert len(list((run.path / "snapshots").iterdir())) == 2 * 13


def test_stages_whose_weights_cannot_be_averaged_afterwards_keep_none(run):
    [autoencoder] = [path.parent for path in run.path.parent.glob("*/latents")]
    assert not (autoencoder / "snapshots").exists()
    with pytest.raises(UserError, match=r"no averages in .*train with callbacks=snapshots"):
        of_length(autoencoder / "model.ckpt", 0.1)


def test_snapshots_change_neither_the_run_nor_its_weights(run, place):
    plain = run_training(place.compose(*KEEPING[2:]))["diffusion"]
    assert plain.fingerprint == run.fingerprint
    assert torch.equal(weights(plain.model), weights(run.model))


def test_resumed_averages_are_those_of_an_undisturbed_run(run, place):
    stop = f"+callbacks.stop={{_target_:tests.runs.tiny.SignalAt,step:22,number:{int(signal.SIGUSR1)}}}"
    autoencoder = f"autoencoder_run={next(run.path.parent.glob('*/latents')).parent}"
    with pytest.raises(Interrupted):
        run_training(place.compose(*KEEPING, autoencoder, stop))
    forget()
    resumed = run_training(place.compose(*KEEPING, autoencoder))["diffusion"]
    for path in sorted((run.path / "snapshots").iterdir()):
        expected = torch.load(path, weights_only=True)["average"]
        average = torch.load(resumed.path / "snapshots" / path.name, weights_only=True)["average"]
        assert not [name for name in expected if not torch.equal(expected[name], average[name])], path.name


def test_averages_that_did_not_begin_with_the_training_are_refused(run, place):
    stop = f"+callbacks.stop={{_target_:tests.runs.tiny.SignalAt,step:4,number:{int(signal.SIGUSR1)}}}"
    autoencoder = f"autoencoder_run={next(run.path.parent.glob('*/latents')).parent}"
    with pytest.raises(Interrupted):
        run_training(place.compose(*KEEPING[2:], autoencoder, stop))
    forget()
    with pytest.raises(UserError, match=r"gone 5 steps without averages of stds 0.050, 0.100"):
        run_training(place.compose(*KEEPING, autoencoder))


def command(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose(name, list(overrides))


def test_commands_take_a_length(run, place):
    words = [f"run={run.path}", "ema_length=0.2", "resolution=8", "class=red", "n=1", f"output={place.outputs}"]
    run_sampling(command("sample", *words))
    [listed] = json.loads((place.outputs / "samples.json").read_text())["samples"]
    assert listed["checkpoint"].endswith("model_ema_0.2.ckpt")
    assert listed["ema_length"] == 0.2
    sampler, _, _ = load_diffusion(run.path / "model_ema_0.2.ckpt")
    assert sampler.model.training is False
    with pytest.raises(UserError, match=r"ema_length=0.002: the 26 averages in .* miss \d+% of it: .* 0.05 or 0.1"):
        run_evaluation(command("evaluate", f"run={run.path}", "ema_length=0.002"))


@pytest.mark.parametrize(("length", "sentence"), [(0.4, "between 0 and 0.288"), ("long", "must be a number")])
def test_lengths_that_there_are_not(run, length, sentence):
    with pytest.raises(UserError, match=sentence):
        of_length(run.model, length)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_refusal_leaves_no_average_that_was_not_there(tmp_path, monkeypatch, earlier):
    path = tmp_path / "model_ema_0.1.ckpt"
    if earlier:
        path.touch()
    monkeypatch.setattr(ema_length, "of_length", lambda model, length: path.touch() or path)

    def refuse(averaged: Path):
        assert averaged.is_file()
        raise UserError("no")

    with pytest.raises(UserError, match="no"), model_of_length(tmp_path / "model.ckpt", 0.1) as averaged:
        refuse(averaged)
    assert path.is_file() == earlier
    with model_of_length(tmp_path / "model.ckpt", 0.1):
        pass
    assert path.is_file()
