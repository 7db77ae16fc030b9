"""Which finished run is meant by a path."""

import os
from pathlib import Path

import pytest
import torch

from fieldforge.errors import UserError
from fieldforge.stages.locate import find_model
from fieldforge.training.processes.checkpoints import FORMAT


def run(folder: Path, stage: str, age: int) -> Path:
    folder.mkdir(parents=True)
    torch.save({"fieldforge": {"format": FORMAT, "stage": stage}}, folder / "model.ckpt")
    os.utime(folder / "model.ckpt", (10**9 - age, 10**9 - age))
    return folder / "model.ckpt"


def test_a_name_stands_for_its_newest_finished_run_of_the_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run(tmp_path / "chairs" / "old", "diffusion", 9)
    newest = run(tmp_path / "chairs" / "new", "diffusion", 5)
    run(tmp_path / "chairs" / "first_stage", "autoencoder", 1)
    run(tmp_path / "tables" / "other", "diffusion", 0)
    with caplog.at_level("INFO"):
        assert find_model(str(tmp_path / "chairs"), str(tmp_path), "diffusion") == (newest, "diffusion")
    assert f"the newest finished one is taken, {newest.parent}" in caplog.text
    with pytest.raises(UserError, match=f"no finished prior in {tmp_path / 'chairs'}: train one first"):
        find_model(str(tmp_path / "chairs"), str(tmp_path), "prior")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no model\.ckpt"):
        find_model(str(tmp_path / "empty"), str(tmp_path), "diffusion")


def test_a_folder_of_runs_is_said_to_hold_them(tmp_path: Path):
    model = run(tmp_path / "chairs" / "1a", "autoencoder", 5)
    other = tmp_path / "chairs" / "2b"
    (other / "checkpoints").mkdir(parents=True)
    for step in (50, 1200):
        (other / "checkpoints" / f"step_{step:09d}.ckpt").touch()
    for folder, stage, age in ((model.parent, "autoencoder", 9), (other, "diffusion", 1)):
        (folder / "fingerprint.json").write_text(f'{{"stage": "{stage}"}}')
        os.utime(folder / "fingerprint.json", (10**9 - age, 10**9 - age))
    runs = r"2b \(diffusion, not finished, 1,200 steps\), 1a \(autoencoder, finished\)"
    with pytest.raises(UserError, match=f"no finished diffusion in {tmp_path / 'chairs'}, which holds {runs}: train"):
        find_model(str(tmp_path / "chairs"), str(tmp_path), "diffusion")
    runs = runs.replace("2b", "chairs/2b").replace("1a", "chairs/1a")
    with pytest.raises(UserError, match=f"has no model.ckpt, only runs: {runs}: give a run's directory"):
        find_model(str(tmp_path), str(tmp_path), "diffusion")
