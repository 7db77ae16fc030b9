"""What Slurm is asked when a job is unfinished; a script in the place of scontrol writes down what it was told."""

import os
from pathlib import Path

import pytest

from fieldforge.training.processes.requeue import requeue

SCONTROL = """#!/bin/sh
echo "$@" >> {calls}
case "$1" in
  show) echo "JobId=7 JobName=x JobState={state} Reason=None" ;;
  requeue) {requeue} ;;
esac
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def prepare(state: str = "RUNNING", requeue: str = "true", **environment: str) -> Path:
        script = tmp_path / "scontrol"
        script.write_text(SCONTROL.format(calls=tmp_path / "calls", state=state, requeue=requeue))
        script.chmod(0o755)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return tmp_path / "calls"

    return prepare


def test_running_job_goes_back_into_the_queue(slurm):
    calls = slurm(SLURM_JOB_ID="7")
    assert requeue()
    assert calls.read_text().splitlines() == ["show job -o 7", "requeue 7"]


def test_task_of_an_array_goes_back_alone(slurm):
    calls = slurm(SLURM_JOB_ID="9", SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="2")
    assert requeue()
    assert calls.read_text().splitlines()[-1] == "requeue 7_2"


def test_cancelled_job_stays_cancelled(slurm, caplog):
    calls = slurm(state="COMPLETING", SLURM_JOB_ID="7")
    assert not requeue()
    assert "requeue 7" not in calls.read_text()
    assert "warning" not in caplog.text


def test_refusal_is_a_warning(slurm, caplog):
    slurm(requeue="echo slurm_update error: Job is pending >&2; exit 1", SLURM_JOB_ID="7")
    assert not requeue()
    assert "did not put job 7 back into the queue (slurm_update error: Job is pending)" in caplog.text


def test_no_scontrol_is_a_warning(slurm, monkeypatch, caplog):
    slurm(SLURM_JOB_ID="7")
    monkeypatch.setenv("PATH", "/nowhere")
    assert not requeue()
    assert "scontrol" in caplog.text


def test_nobody_is_asked_outside_of_slurm(slurm):
    calls = slurm()
    assert not requeue()
    assert not calls.exists()
