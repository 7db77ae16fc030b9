"""Jobs in processes of their own: joblib, and submitit's local executor with its signal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.runs.conftest import ROOT, SEARCH, Place
from tests.runs.tiny import write_balls
from tests.sweeps.launched import dies_once_or_always

from fieldforge.runs import entry
from fieldforge.runs.train import run_training
from fieldforge.sweeps.forwarding import children

STEPS = 8


def test_joblib_outlives_a_job_that_kills_its_process(tmp_path, monkeypatch, capsys):
    arguments = [SEARCH, "experiment=tiny", f"output_dir={tmp_path}", "-m", "seed=0,1", "launcher=joblib"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit) as left:
        entry.run(dies_once_or_always, "train")
    printed = capsys.readouterr().out
    assert not left.value.code
    assert "2 trials: 1 finished, 1 failed" in printed
    assert "its process died twice" in printed
    processes = {path.parent.name: path.read_text().split() for path in tmp_path.glob("runs/*/starts")}
    assert len(processes["0001"]) == 2
    assert str(os.getpid()) not in {pid for pids in processes.values() for pid in pids}


def start(place: Path, *arguments: str) -> subprocess.Popen:
    balls = f"data.root={place / 'balls'}"
    size = f"training.autoencoder.budget.max_steps={STEPS}"
    command = [sys.executable, str(ROOT / "train.py"), SEARCH, "experiment=tiny", "stages=[autoencoder]", balls, size]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=place
    )


def test_submitit_requeues_a_job_that_has_saved(tmp_path: Path):
    """USR2 in the middle of a training: it is saved, started again by submitit, and ends as if nothing had been."""
    write_balls(tmp_path / "balls", train=3)
    # The first process of the job sends the signal to itself, as submitit does before a time limit.
    kick = f"+callbacks.kick={{_target_:tests.runs.tiny.SignalAt,step:3,number:{int(signal.SIGUSR2)}}}"
    sweep = start(tmp_path, f"output_dir={tmp_path / 'swept'}", "-m", "seed=0", "launcher=submitit_local", kick)
    place = Place(tmp_path / "balls", tmp_path / "plain")
    plain = place.compose("stages=[autoencoder]", f"training.autoencoder.budget.max_steps={STEPS}")
    expected = run_training(plain)["autoencoder"].model
    out, output = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, output
    assert "1 trial: 1 finished" in out
    logs = "".join(path.read_text() for path in tmp_path.glob("swept/sweeps/*/.submitit/*/*.err"))
    assert "SIGUSR2: finishing this step, then saving" in logs
    assert "goes on at step 4" in logs
    [model] = tmp_path.glob("swept/tiny/*/model.ckpt")
    assert model.parent.name == expected.parent.name
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (expected, model)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_term_reaches_the_jobs_below(tmp_path: Path):
    """TERM to the process that waits: the job saves, and both leave with the code that says: once more."""
    write_balls(tmp_path / "balls", train=3)
    waiting = "+callbacks.waiting={_target_:tests.sweeps.slow.Waiting,step:2}"
    arguments = [f"output_dir={tmp_path / 'out'}", "-m", "seed=0,1", "launcher=joblib", "search.parallel=1"]
    sweep = start(tmp_path, *arguments, waiting)
    deadline = time.monotonic() + 240
    while not (tmp_path / "waiting").is_file() and time.monotonic() < deadline and sweep.poll() is None:
        time.sleep(0.2)
    sweep.send_signal(signal.SIGTERM)
    _, output = sweep.communicate(timeout=240)
    assert sweep.returncode == 85, output
    assert [path.name for path in tmp_path.glob("out/tiny/*/checkpoints/*")] == ["step_000000003.ckpt"]
    assert not list(tmp_path.glob("out/sweeps/*/trials/*.json"))


def test_children_are_found():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process.pid in children()
        process.kill()
