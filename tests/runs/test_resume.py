"""Interrupted equals uninterrupted, bit for bit, however a run was stopped."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from tests.runs.conftest import Place

from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.train import run_training
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.training.callbacks.metrics_table import read_table
from fieldforge.training.processes import interruption
from fieldforge.training.processes.interruption import EXIT_CTRL_C, EXIT_UNFINISHED, Interrupted

AUTOENCODER = "stages=[autoencoder]"
KILL = "+callbacks.kill={_target_:tests.runs.tiny.SignalAt,step:3,number:%d}"


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "model.ckpt", weights_only=True)["state_dict"]


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


@pytest.fixture(scope="module")
def undisturbed(balls: Path, tmp_path_factory) -> dict[str, torch.Tensor]:
    other = Place(balls, tmp_path_factory.mktemp("undisturbed"))
    return weights(run_training(other.compose(AUTOENCODER))["autoencoder"].path)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, EXIT_UNFINISHED), (signal.SIGUSR1, EXIT_UNFINISHED), (signal.SIGINT, EXIT_CTRL_C)],
)
def test_signal_finishes_the_step_saves_and_resumes_exactly(place, undisturbed, number, code):
    with pytest.raises(Interrupted) as stop:
        run_training(place.compose(AUTOENCODER, KILL % number))
    assert stop.value.exit_code == code
    interruption.forget()
    [saved] = place.outputs.glob("tiny/*/checkpoints/*.ckpt")
    assert saved.name == "step_000000004.ckpt"  # the step that was under way is in it
    done = run_training(place.compose(AUTOENCODER))["autoencoder"]
    assert done.path == saved.parent.parent
    assert_equal(weights(done.path), undisturbed)
    steps = [row.split(",")[0] for row in (done.path / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == [str(step) for step in range(6)]


def test_judges_are_not_in_the_way_and_say_in_the_end_what_evaluate_says(place, undisturbed):
    small = ["every_steps=2", "count=2", "resolution=32"]
    judged = [AUTOENCODER, "callbacks=judges", *(f"callbacks.judges.{one}" for one in small)]
    with pytest.raises(Interrupted):
        run_training(place.compose(*judged, KILL % signal.SIGTERM))
    interruption.forget()
    done = run_training(place.compose(*judged))["autoencoder"]
    assert_equal(weights(done.path), undisturbed)
    rows = read_table(done.path / "metrics.csv")
    assert [step for step, row in rows.items() if "judge/iou" in row] == [1, 3, 5]
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        words = [f"run={done.path}", "limit=2", "reconstruction.resolution=32", "reconstruction.pictures=0"]
        run_evaluation(compose("evaluate", words))
    report = json.loads((done.path / "evaluation" / "heldout.json").read_text())
    own = {name.removeprefix("judge/"): value for name, value in rows[5].items() if name.startswith("judge/")}
    of_truth = {"thickness", "openness", "parts", "texture"}
    assert own == pytest.approx(
        {name: value for name, value in report["mean"].items() if name not in of_truth}, rel=1e-3
    )


def test_killed_process_resumes_exactly(place, undisturbed):
    process = place.start(AUTOENCODER, "callbacks.checkpoints.every_steps=2", KILL % signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, stderr
    assert not list(place.outputs.glob("tiny/*/model.ckpt"))
    done = run_training(place.compose(AUTOENCODER))["autoencoder"]
    assert_equal(weights(done.path), undisturbed)


def test_signal_before_training_is_noted_and_exit_code_says_unfinished(place):
    process = place.start(AUTOENCODER, KILL % signal.SIGTERM)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == EXIT_UNFINISHED, stderr
    assert "the same command goes on" in stderr


def test_damaged_last_checkpoint_falls_back_to_the_one_before(place, undisturbed, caplog):
    with pytest.raises(Interrupted):
        run_training(place.compose(AUTOENCODER, "callbacks.checkpoints.every_steps=2", KILL % signal.SIGTERM))
    interruption.forget()
    caplog.set_level("INFO")
    first, last = sorted(place.outputs.glob("tiny/*/checkpoints/*.ckpt"))
    last.write_bytes(last.read_bytes()[:1000])
    done = run_training(place.compose(AUTOENCODER))["autoencoder"]
    assert f"goes on at step 2 from {first}" in caplog.text
    assert "trying the one before" in caplog.text
    assert_equal(weights(done.path), undisturbed)


def test_finished_stage_is_reused_and_not_touched(place):
    done = run_training(place.compose(AUTOENCODER))["autoencoder"]
    before = (done.path / "model.ckpt").stat().st_mtime_ns
    time.sleep(0.01)
    again = run_training(place.compose(AUTOENCODER, "monitor.log_every=2", "trainer.matmul=highest"))["autoencoder"]
    assert again.path == done.path
    assert (done.path / "model.ckpt").stat().st_mtime_ns == before


def test_what_changes_the_result_gets_a_run_of_its_own_and_is_named(place, caplog):
    caplog.set_level("INFO")
    first = run_training(place.compose(AUTOENCODER, "training.autoencoder.optimizer.lr=1e-3"))["autoencoder"]
    second = run_training(place.compose(AUTOENCODER, "training.autoencoder.optimizer.lr=2e-3"))["autoencoder"]
    assert second.path != first.path
    assert "training.optimizer.lr: 0.001 → 0.002" in caplog.text


def test_finished_autoencoder_loads_and_reconstructs(place):
    done = run_training(place.compose(AUTOENCODER))["autoencoder"]
    autoencoder, label = load_autoencoder(done.model)
    assert label["fingerprint"] == done.fingerprint
    latents = autoencoder.encode({"input": torch.zeros(1, 64, 9)})
    assert latents.shape == (1, *autoencoder.latent_shape[:2])
    assert list(done.pictures.glob("step_000000006.png"))


def test_diffusion_resumes_exactly(place, balls, tmp_path):
    other = Place(balls, tmp_path / "other")
    undisturbed = run_training(other.compose())["diffusion"].path
    run_training(place.compose("stages=[autoencoder]"))  # the signal below must fall into the second stage
    with pytest.raises(Interrupted):
        run_training(place.compose(KILL % signal.SIGTERM))
    interruption.forget()
    done = run_training(place.compose())["diffusion"].path
    assert done.name == undisturbed.name
    assert_equal(weights(done), weights(undisturbed))


def test_latents_go_on_where_they_were_interrupted(place, monkeypatch):
    from fieldforge.data.shards import open_shards
    from fieldforge.stages import latent_stage

    autoencoder = run_training(place.compose("stages=[autoencoder]"))["autoencoder"]
    words = ["stages=[autoencoder,latents]", "training.latents.batch_size=2"]
    monkeypatch.setattr(latent_stage, "SHARD", 2)
    encode, calls = type(load_autoencoder(autoencoder.model)[0]).encode, []

    def interrupted(self, batch):
        calls.append(len(batch["input"]))
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)
        return encode(self, batch)

    interruption.install()
    monkeypatch.setattr("fieldforge.autoencoder.autoencoder.Autoencoder.encode", interrupted)
    with pytest.raises(Interrupted):
        run_training(place.compose(*words))
    [folder] = (autoencoder.path / "latents").iterdir()
    full = folder / "heldout-000000.tar"
    written = full.stat().st_mtime_ns
    assert not (folder / "manifest.json").exists()
    interruption.forget()
    calls.clear()
    calls.extend([0, 0, 0])
    run_training(place.compose(*words))
    assert len(calls) - 3 < 7  # of the 5 + 2 batches, finished ones were not encoded again
    assert full.stat().st_mtime_ns == written
    assert open_shards(folder, "train").samples == 9


def test_wandb_without_an_account_writes_offline_and_ends_its_run(place, monkeypatch):
    import wandb

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(place.outputs))
    done = run_training(place.compose(AUTOENCODER, "logger=wandb", "logger.artifact=true"))["autoencoder"]
    [written] = done.path.glob("wandb/offline-run-*/run-*.wandb")
    assert done.model.name.encode() in written.read_bytes()  # the artifact's manifest
    assert (done.path / "metrics.csv").is_file()
    assert wandb.run is None


def test_trained_to_the_end_but_killed_before_the_model_was_written(place, undisturbed):
    done = run_training(place.compose(AUTOENCODER))["autoencoder"]
    done.model.unlink()
    assert_equal(weights(run_training(place.compose(AUTOENCODER))["autoencoder"].path), undisturbed)
