"""Work that is shared by processes: all get all results, and a failure in one ends the others soon."""

import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys, time
from fieldforge.errors import Unfinished, UserError
from fieldforge.training.processes import heartbeat, interruption, ranks

heartbeat.BEAT, heartbeat.PATIENCE = 0.2, 2.0
ranks.connect("gloo", 1)
rank = ranks.rank()

def long_work():
    while True:  # until another process fails
        ranks.stop_request()
        time.sleep(0.1)

def work(how):
    if how == "well":
        time.sleep(0.3 * rank)
        return f"of {rank}"
    if rank == 0:
        return long_work() if how != "killed" else None
    time.sleep(0.5)
    if how == "killed":
        os._exit(9)
    if how == "mistake":
        raise UserError("a bad sample: take it out")
    if how == "unfinished":
        raise Unfinished("the store stays away")
    if how == "bug":
        raise KeyError("x")
    if how == "signal":
        interruption.note(15)
        ranks.stop_request()
        raise interruption.Interrupted(interruption.noted())

for how in sys.argv[1:]:
    try:
        print(ranks.shared(lambda: work(how)), flush=True)
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
"""


WAYS = {  # what each of two processes says
    "well": ("['of 0', 'of 1']", "['of 0', 'of 1']"),
    "mistake": ("UserError a bad sample: take it out", "UserError a bad sample: take it out"),
    "unfinished": ("Unfinished the store stays away", "Unfinished the store stays away"),
    "bug": ("RuntimeError another process has failed", "KeyError 'x'"),
    "signal": ("Interrupted stopped by SIGTERM", "Interrupted stopped by SIGTERM"),
}


def run(folder: Path, *ways: str) -> list[list[str]]:
    """What each of two processes says of each way."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), *ways], env={**place, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    return [process.communicate(timeout=120)[0].splitlines() for process in processes]


def test_all_end_alike_and_soon(tmp_path):
    assert run(tmp_path, *WAYS) == [list(said) for said in zip(*WAYS.values(), strict=True)]


def test_a_killed_process_is_noticed(tmp_path):
    gone = "RuntimeError process 1 is gone (connection closed: no sign of life for 2 s)"
    assert run(tmp_path, "killed") == [[gone], []]
