"""A clone may lie below any folder: names of folders are no syntax."""

import os
import shutil
import subprocess
import sys

import pytest
from tests.runs.conftest import ROOT

from fieldforge.data.shards import open_shards
from fieldforge.runs import entry

PROGRAMS = ("train.py", "sample.py", "prepare.py", "evaluate.py")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("places") / "a,b (1)=ü'x $q" / "lr=1 [0]"
    for name in ("configs", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in (*PROGRAMS, "set_up.py"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.parametrize(
    ("name", "arguments", "key"),
    [
        ("train", ["experiment=shape_latent"], "autoencoder"),
        ("commands/sample", ["sampler=unipc"], "sampler"),
        ("prepare", ["source=folder", "source.path=möbel"], "source"),
        ("commands/evaluate", ["run=it's"], "run"),
    ],
)
def test_every_command_composes(clone, monkeypatch, name, arguments, key):
    seen = []
    monkeypatch.setattr(entry, "CONFIGS", clone / "configs")
    monkeypatch.setattr(sys, "argv", ["program.py", *arguments])
    with pytest.raises(SystemExit) as left:
        entry.run(seen.append, name, choices=name == "commands/sample")
    assert left.value.code == 0
    assert seen[0][key] is not None


def test_shards_in_folders_whose_names_would_be_patterns(balls, clone):
    folder = clone / "[0-9]{a,b}*$x"
    shutil.copytree(balls, folder)
    assert open_shards(folder, "train").samples == 9
    assert open_shards([str(folder)], "heldout").samples == 3


def test_as_a_user_starts_it(clone, tmp_path):
    typed = ["source=folder", "source.path=möbel, 'x' (1)=2", "output=a b,c"]
    done = subprocess.run(
        [sys.executable, str(clone / "prepare.py"), *typed],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(clone / "src")},
    )
    assert done.returncode == 2, done.stderr
    assert "source.path=möbel, 'x' (1)=2: there is no such folder" in done.stderr
    assert "Traceback" not in done.stderr
