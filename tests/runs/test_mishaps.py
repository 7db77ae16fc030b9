"""However a training ends, nothing of it is left behind, and its exit code says what to do."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runs.conftest import ROOT

MISHAP = "+callbacks.mishap={_target_:tests.runs.mishaps.Mishap,kind:%s}"
ALONE = ["stages=[autoencoder]", "data.num_workers=2", "callbacks.pictures=null"]
PAIR = [*ALONE[:1], *ALONE[2:], "data.num_workers=1", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
ENDS = {  # kind → exit code, what is said at last
    "bug": (1, "ZeroDivisionError: a bug"),
    "mistake": (2, "error: the thing is wrong: mend it"),
    "full": (2, "error: there is no room for somewhere (No space left on device)"),
    "terminated": (85, "stopped by SIGTERM: state is saved"),
    "hung_up": (85, "stopped by SIGHUP: state is saved"),
    "ctrl_c_twice": (130, "stopped by Ctrl-C"),
    "killed_worker": (85, "error: a data worker is gone (killed)"),
    "killed": (-signal.SIGKILL, ""),
    "pair": (-signal.SIGKILL, "error: another process of this training is gone"),  # the first of two is killed
}


@pytest.fixture(scope="module")
def scenes(balls: Path, tmp_path_factory) -> dict[str, dict]:
    """How each of `ENDS` ended, by its name."""
    outputs = tmp_path_factory.mktemp("scenes")
    plan = [{"name": kind, "overrides": [*ALONE, MISHAP % kind]} for kind in ENDS if kind != "pair"]
    plan.append({"name": "pair", "overrides": [*PAIR, MISHAP % "killed"]})
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.runs.scenes", str(balls), str(outputs), json.dumps(plan)]
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=400)
    return {kind: json.loads((outputs / f"{kind}.json").read_text()) for kind in ENDS}


@pytest.mark.parametrize("kind", ENDS)
def test_nothing_is_left_and_the_exit_code_says_what_to_do(scenes, kind):
    code, words = ENDS[kind]
    scene = scenes[kind]
    assert scene["code"] == code, scene["output"]
    assert scene["left"] == 0, scene["output"]
    assert words in scene["output"].strip().splitlines()[-1]
    assert ("Traceback" in scene["output"]) == (kind == "bug"), scene["output"]
