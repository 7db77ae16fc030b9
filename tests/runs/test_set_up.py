"""The commands under a Python that has not been set up."""

import subprocess
import sys

import pytest
from tests.runs.conftest import ROOT


@pytest.mark.parametrize("command", ["train.py", "sample.py", "prepare.py", "evaluate.py", "export.py"])
def test_a_bare_python_is_told_the_command_that_sets_up(command: str, tmp_path):
    bare = [sys.executable, "-S", "-E"]  # without the packages of its environment
    left = subprocess.run([*bare, str(ROOT / command), "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert (left.returncode, left.stdout) == (2, "")
    [sentence] = left.stderr.splitlines()
    assert sentence.startswith(f"error: {sys.executable} lacks fieldforge, hydra, torch: ")
    assert sentence.endswith(f"start this command as {ROOT / '.venv' / 'bin' / 'python'} {command} …")
    ready = (ROOT / ".venv" / ".ready").exists()
    assert (f"run `make setup` in {ROOT} first" in sentence) == (not ready)
