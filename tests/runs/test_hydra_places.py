"""Hydra's own files stay below the folder that a command is started in."""

import sys
from pathlib import Path

import pytest

from fieldforge.runs import entry

COMMANDS = {
    "train": ["experiment=shape_latent"],
    "prepare": ["source=furniture"],
    "commands/sample": [],
    "commands/app": [],
    "commands/evaluate": [],
    "commands/export": ["output=published", "format=card"],
}


@pytest.fixture(autouse=True)
def started_in(tmp_path: Path, monkeypatch) -> Path:
    """The folder `inner/`, beside which nothing may come to be."""
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    return tmp_path / "inner"


def sentence_of(monkeypatch, capsys, command: str, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["command.py", *COMMANDS[command], *arguments])
    with pytest.raises(SystemExit) as left:
        entry.run(lambda config: None, command)
    [sentence] = capsys.readouterr().err.splitlines() or [""]
    assert left.value.code == (2 if sentence else 0)
    return sentence


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hydra.run.dir", "{outside}"),
        ("hydra.run.dir", "${oc.env:HOME}/outside"),
        ("hydra.output_subdir", "../outside"),
        ("hydra.output_subdir", "a/../../outside"),
        ("hydra.job.name", "../outside"),
        ("hydra.sweep.dir", "{outside}"),
        ("hydra.sweep.subdir", "../outside"),
        ("hydra.launcher.submitit_folder", "{outside}"),
        ("hydra.job_logging.handlers.file.filename", "../outside"),
        ("hydra.hydra_logging.handlers.file.filename", "{outside}"),
    ],
)
def test_a_path_that_leaves_is_refused_by_its_key(monkeypatch, capsys, started_in, command, key, value):
    outside = started_in.parent / "outside"
    value = value.replace("{outside}", str(outside))
    sentence = sentence_of(monkeypatch, capsys, command, f"+{key}={value}")
    assert sentence.startswith(f"error: {key}={value} leaves the folder that the command is started in: leave it out")
    assert not outside.exists()
    assert not any(started_in.iterdir())


def test_a_path_within_a_block_is_seen(monkeypatch, capsys):
    sentence = sentence_of(monkeypatch, capsys, "train", "hydra={run:{dir:../outside}}")
    assert sentence.startswith("error: hydra.run.dir=../outside leaves")


def test_a_path_below_is_taken(monkeypatch, capsys, started_in):
    sentence_of(monkeypatch, capsys, "prepare", "hydra.run.dir=runs/${now:%Y}", "hydra.output_subdir=settings")
    assert len(list(started_in.glob("runs/20*/settings/*.yaml"))) == 3


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.output_subdir"])
def test_a_folder_that_cannot_be_made_is_a_sentence(monkeypatch, capsys, started_in, command, key):
    (started_in / "a_file").touch()
    sentence = sentence_of(monkeypatch, capsys, command, f"{key}=a_file")
    assert "a_file cannot be used (File exists): correct " + f"{key}=a_file, or the folder of configs" in sentence


def test_what_cannot_be_read_is_a_sentence(monkeypatch, capsys):
    assert "cannot read the override 'hydra.run.dir=[1'" in sentence_of(
        monkeypatch, capsys, "train", "hydra.run.dir=[1"
    )
