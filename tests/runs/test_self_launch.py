"""train.py starts its other processes itself; as users see it: exit codes, and what is said on stderr."""

from pathlib import Path

import pytest
import torch
from tests.runs.conftest import Place

from fieldforge.stages.ema_length import of_length
from fieldforge.training.callbacks.snapshots import FOLDER

PAIR = ["trainer.devices=2", "trainer.accelerator=cpu", "trainer.precision=32-true"]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch) -> Path:
    """As within a job of Slurm's; what scontrol was told."""
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n[ $1 = requeue ] || echo JobState=RUNNING\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return tmp_path / "told"


def ended(place: Place, *overrides: str) -> tuple[int, list[str]]:
    """Exit code and lines on stderr, without those of a progress bar."""
    process = place.start(*overrides)
    _, stderr = process.communicate(timeout=300)
    return process.returncode, [line for line in stderr.splitlines() if line.strip()]


def test_all_stages_spread_over_two_processes(place):
    code, lines = ended(place, "trainer=fsdp", *PAIR, "callbacks=snapshots", "callbacks.snapshots.every_steps=3")
    assert code == 0, "\n".join(lines)
    assert len([line for line in lines if ": finished, " in line]) == 2  # each stage once
    assert "diffusion: finished" in lines[-1]  # and nothing after it
    assert not [line for line in lines if "arning" in line]
    labels = [torch.load(path, weights_only=True)["fieldforge"] for path in place.outputs.glob("tiny/*/model.ckpt")]
    assert {label["stage"] for label in labels} == {"autoencoder", "diffusion"}
    [snapshot] = [
        of_length(model, 0.05) for model in place.outputs.glob("tiny/*/model.ckpt") if (model.parent / FOLDER).is_dir()
    ]
    tracked, average = (
        torch.load(path, weights_only=True)["state_dict"] for path in (snapshot.with_name("model.ckpt"), snapshot)
    )
    for name, value in tracked.items():
        torch.testing.assert_close(average[name], value, rtol=1e-3, atol=1e-4)


def test_time_that_is_up_puts_the_job_back_into_the_queue_once(place, slurm):
    overrides = ["trainer=ddp_spawn_debug", "trainer.precision=32-true", "callbacks.pictures=null"]
    code, lines = ended(place, *overrides, "+callbacks.time_up={_target_:tests.runs.tiny.TimeUpAt,step:0}")
    assert code == 85, "\n".join(lines)
    assert slurm.read_text().splitlines() == ["show job -o 7", "requeue 7"]
    assert len([line for line in lines if "state is saved" in line]) == 1
    assert list(place.outputs.glob("tiny/*/checkpoints/step_*.ckpt"))


def test_mistake_of_all_is_said_once(place):
    code, lines = ended(place, "trainer=ddp", *PAIR, "data.root=/nowhere")
    assert code == 2
    assert len([line for line in lines if "/nowhere" in line]) == 1, "\n".join(lines)
    assert lines[-1].startswith("error: ")
