"""Trainings that end badly, each in a process and session of its own, forked from one that has imported everything.

python -m tests.runs.scenes <data> <outputs> <plan>: writes to outputs/<name>.json how each ended and what it left.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from tests.runs.conftest import ROOT, SEARCH, Place

from fieldforge.runs import entry, train

PATIENCE = 200.0  # seconds after which a process is one that never ends


def main(data: str, outputs: str, plan: str) -> None:
    """`plan`: list of {name, overrides}."""
    train.rehearse = lambda stages: None  # takes as long as two steps
    started = {scene["name"]: _start(Path(data), Path(outputs), scene) for scene in json.loads(plan)}
    for name, pid in started.items():
        code, left = _end_of(pid), _left(pid)
        for process in left:
            os.kill(process, signal.SIGKILL)
        output = (Path(outputs) / f"{name}.err").read_text()
        (Path(outputs) / f"{name}.json").write_text(json.dumps({"code": code, "left": len(left), "output": output}))


def _start(data: Path, outputs: Path, scene: dict) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    file = os.open(outputs / f"{scene['name']}.err", os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    place = Place(data, outputs / scene["name"])
    sys.argv = [str(ROOT / "train.py"), SEARCH, *place.overrides(*scene["overrides"])]
    entry.run(train.run_training, "train", keeps_state=True)
    raise AssertionError("entry.run leaves the process")


def _end_of(pid: int) -> int | None:
    """Exit code, or minus the signal that ended it; None where it does not end."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    return None


def _left(session: int, patience: float = 10.0) -> list[int]:
    """Processes of a session that are still there so long after its first one has ended."""
    deadline = time.monotonic() + patience
    while (left := _members(session)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _members(session: int) -> list[int]:
    members = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, of = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                members.append(int(process.name))
    return members


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
