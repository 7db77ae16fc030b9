"""Two processes train what one trains, fail together, and hand over to any other number of processes."""

import json
import signal
from pathlib import Path

import pytest
import torch
from tests.runs.conftest import Place
from tests.runs.pair import ends, train_pair

from fieldforge.runs.train import run_training
from fieldforge.training.callbacks.metrics_table import read_table
from fieldforge.training.processes import interruption

STEPS = 20
BOTH = [
    f"training.autoencoder.budget.max_steps={STEPS}",
    f"training.diffusion.budget.max_steps={STEPS}",
    "training.autoencoder.batch_size=8",
    "training.diffusion.batch_size=8",
    "monitor.validate_every=1000",
    "callbacks.pictures=null",
    "trainer.precision=32-true",
    "trainer.matmul=highest",
]
PAIR = ["trainer.accelerator=cpu", "trainer.devices=2"]
AUTOENCODER = "stages=[autoencoder]"
STOP = "+callbacks.stop={_target_:tests.runs.tiny.SignalAt,step:9,number:%d,rank:1}"
SPOIL = "+callbacks.spoil={_target_:tests.runs.tiny.NotANumber,first:10,last:12,rank:1}"
SHORT = "training.autoencoder.budget.max_steps=2"
PATIENCE = ["callbacks.recovery.patience=3", "callbacks.recovery.window=5"]
# The condition has no tokens here: the weights of their stream take part all the same.
JOINT = ["backbone=mmdit", "backbone.layers=2", SHORT]


SCENARIOS = [
    {"name": "ddp", "overrides": [*BOTH, "trainer=ddp", *PAIR]},
    {"name": "fsdp", "overrides": [*BOTH, "trainer=fsdp", *PAIR, "trainer.checkpointing=true"]},
    {"name": "joint", "overrides": [*BOTH, *JOINT, "trainer=fsdp", *PAIR, "trainer.checkpointing=true"]},
    {"name": "signal", "overrides": [*BOTH, AUTOENCODER, "trainer=fsdp", *PAIR, STOP % signal.SIGUSR1]},
    {
        "name": "disk",
        "overrides": [*BOTH, AUTOENCODER, "trainer=ddp", *PAIR, "callbacks.checkpoints.every_steps=4"],
        "full_disk": "0",
    },
    {
        "name": "spoiled",
        "overrides": [
            *BOTH,
            AUTOENCODER,
            "trainer=fsdp",
            *PAIR,
            SPOIL,
            "callbacks.checkpoints.every_steps=4",
            *PATIENCE,
        ],
    },
    {"name": "grown", "overrides": [*BOTH, AUTOENCODER, "trainer=fsdp", *PAIR]},  # one process has begun it
    {
        "name": "stopped",
        "overrides": [
            *BOTH,
            AUTOENCODER,
            "trainer=fsdp",
            *PAIR,
            "callbacks.checkpoints.every_steps=4",
            STOP % signal.SIGTERM,
        ],
    },
    {
        "name": "damaged",
        "folder": "stopped",
        "overrides": [*BOTH, AUTOENCODER, "trainer=fsdp", *PAIR],
        "damaged": "tiny/*/checkpoints/step_000000010.ckpt/rank_00001*",
    },
    {
        "name": "latents",
        "overrides": [*BOTH, "stages=[autoencoder,latents]", "trainer=ddp", *PAIR, SHORT],
        "stopped_encoding": True,
    },
]


@pytest.fixture(scope="module")
def pair(balls: Path, tmp_path_factory) -> Path:
    """Where two processes have trained all scenarios."""
    outputs = tmp_path_factory.mktemp("pair")
    (outputs / "grown").mkdir()
    with pytest.raises(interruption.Interrupted):
        run_training(
            Place(balls, outputs / "grown").compose(*BOTH, AUTOENCODER, (STOP % signal.SIGUSR1).replace("k:1", "k:0"))
        )
    interruption.forget()
    train_pair(balls, outputs, SCENARIOS)
    return outputs


@pytest.fixture(scope="module")
def alone(balls: Path, tmp_path_factory) -> Path:
    place = Place(balls, tmp_path_factory.mktemp("alone"))
    run_training(place.compose(*BOTH))
    return place.outputs


def curves(outputs: Path) -> dict[str, list[float]]:
    """Losses of all steps by stage."""
    result = {}
    for table in outputs.glob("tiny/*/metrics.csv"):
        stage = (
            "diffusion" if "backbone" in json.loads((table.parent / "fingerprint.json").read_text()) else "autoencoder"
        )
        result[stage] = [row["train/loss"] for row in read_table(table).values()]
    return result


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_what_one_trains(pair, alone, strategy):
    assert ends(pair, strategy) == ["finished", "finished"]
    expected, result = curves(alone), curves(pair / strategy)
    assert expected.keys() == result.keys() == {"autoencoder", "diffusion"}
    for stage, losses in expected.items():
        assert len(losses) == STEPS
        assert result[stage] == pytest.approx(losses, rel=1e-5, abs=1e-5), stage


def test_two_processes_train_the_blocks_of_two_streams_as_one_does(pair, place):
    assert ends(pair, "joint") == ["finished", "finished"]
    run_training(place.compose(*BOTH, *JOINT))
    assert curves(pair / "joint")["diffusion"] == pytest.approx(curves(place.outputs)["diffusion"], rel=1e-5, abs=1e-5)


def test_accumulated_batches_are_one_batch(place, alone):
    run_training(place.compose(*BOTH, AUTOENCODER, "trainer.accumulate=2"))
    assert curves(place.outputs)["autoencoder"] == pytest.approx(curves(alone)["autoencoder"], rel=1e-5, abs=1e-5)


def test_spread_training_exports_one_file_that_one_process_reads(pair, alone):
    [run] = [path.parent for path in alone.glob("tiny/*/latents")]  # the autoencoder's
    files = (pair / "fsdp" / "tiny" / run.name / "model.ckpt", run / "model.ckpt")
    result, expected = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    assert result.keys() == expected.keys()
    different = [name for name, weight in expected.items() if not torch.allclose(result[name], weight, atol=1e-4)]
    assert not different


def test_signal_to_one_process_stops_both_and_one_process_goes_on(pair, balls, alone):
    assert ends(pair, "signal") == ["stopped by SIGUSR1"] * 2
    [folder] = (pair / "signal").glob("tiny/*/checkpoints/step_000000010.ckpt")
    assert [file.name for file in sorted(folder.iterdir())] == ["rank_00000_of_00002.ckpt", "rank_00001_of_00002.ckpt"]
    run_training(Place(balls, pair / "signal").compose(*BOTH, AUTOENCODER))
    assert curves(pair / "signal")["autoencoder"] == pytest.approx(curves(alone)["autoencoder"], rel=1e-4, abs=1e-4)


def test_full_disk_ends_both_processes_with_a_sentence(pair):
    first, second = ends(pair, "disk")
    assert "No space left on device" in first
    assert "process 0 of 2 has failed" in second
    assert (pair / "output").read_text().count("training goes on and tries again") == 2


def test_spoiled_batches_of_one_process_take_both_back(pair, alone):
    assert ends(pair, "spoiled") == ["finished", "finished"]
    [table] = (pair / "spoiled").glob("tiny/*/metrics.csv")
    rows = read_table(table)
    assert (rows[11]["train/skipped_steps"], rows[11]["train/rollbacks"]) == (3, 0)
    assert (rows[STEPS - 1]["train/skipped_steps"], rows[STEPS - 1]["train/rollbacks"]) == (3, 1)
    assert curves(pair / "spoiled")["autoencoder"][:9] == pytest.approx(curves(alone)["autoencoder"][:9], rel=1e-5)
    assert (pair / "output").read_text().count("weights go back to") == 1


def test_two_processes_go_on_with_what_one_has_begun(pair, alone):
    assert ends(pair, "grown") == ["finished", "finished"]
    assert curves(pair / "grown")["autoencoder"] == pytest.approx(curves(alone)["autoencoder"], rel=1e-4, abs=1e-4)


def test_damage_to_the_file_of_one_process_leads_to_the_checkpoint_before(pair, alone):
    assert ends(pair, "stopped") == ["stopped by SIGTERM"] * 2
    assert ends(pair, "damaged") == ["finished", "finished"]
    output = (pair / "output").read_text()
    assert "rank_00001_of_00002.ckpt is damaged" in output
    assert output.count("trying the one before") == 1
    assert curves(pair / "stopped")["autoencoder"] == pytest.approx(curves(alone)["autoencoder"], rel=1e-4, abs=1e-4)


def test_signal_to_the_process_that_waits_ends_the_encoding_of_the_other(pair):
    assert ends(pair, "latents") == ["stopped by SIGTERM"] * 2
