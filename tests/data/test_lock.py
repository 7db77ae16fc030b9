"""One command at a time writes a directory; whoever holds it may die in any way."""

import errno
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fieldforge.errors import UserError
from fieldforge.storage import lock

HOLDS = """
import os, sys, time
from pathlib import Path
from fieldforge.storage import lock
lock.take(Path(sys.argv[1]))
child = os.fork() if sys.argv[2] == "with child" else None
if child != 0:
    print("held", child, flush=True)
time.sleep(60)
"""


def holder(folder: Path, how: str = "alone") -> tuple[subprocess.Popen, str]:
    """A process that holds the folder, and the id of its child."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder), how], stdout=subprocess.PIPE, text=True)
    held, child = process.stdout.readline().split()
    assert held == "held"
    return process, child


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


def test_second_command_hears_who_holds_the_folder(tmp_path):
    process, _ = holder(tmp_path / "run")
    try:
        with pytest.raises(UserError) as refused, lock.scope():
            lock.take(tmp_path / "run")
        message = str(refused.value)
        assert f"another command writes {tmp_path / 'run'}" in message
        assert f"process {process.pid} on {socket.gethostname()}, since 20" in message
    finally:
        end(process)
    with lock.scope():  # free again, however its holder has ended
        lock.take(tmp_path / "run")


def test_a_child_does_not_keep_what_its_parent_held(tmp_path):
    process, message = holder(tmp_path, "with child")
    child = int(message)
    end(process)
    os.kill(child, 0)  # still there
    try:
        with lock.scope():
            lock.take(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_scope_frees_what_was_taken_in_it_and_leaves_no_file(tmp_path):
    @lock.scope()
    def work() -> None:
        lock.take(tmp_path)
        lock.take(tmp_path)  # the same command may
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()

    with lock.scope():
        lock.take(tmp_path / "outer")
        work()
        assert not (tmp_path / ".lock").exists()
        assert (tmp_path / "outer" / ".lock").exists()
    process, _ = holder(tmp_path / "outer")
    end(process)


@pytest.mark.parametrize("kind", ["no locks", "another machine"])
@pytest.mark.parametrize("alive", [True, False])
def test_signs_of_life_count_where_the_lock_says_nothing(kind, alive, tmp_path, monkeypatch):
    """A file system without locks, or with locks that other machines do not see."""
    monkeypatch.setattr(lock, "BEAT", 0.2)
    monkeypatch.setattr(lock, "_PATIENCE", 20.0 if alive else 0.5)
    if kind == "no locks":
        monkeypatch.setattr(fcntl, "lockf", no_locks)
    file = tmp_path / ".lock"
    file.write_text(json.dumps({"host": "elsewhere", "pid": 7, "since": "2026-01-01 10:00:00+0000"}))
    touching = [sys.executable, "-c", f"import os, time\nwhile True: os.utime({str(file)!r}); time.sleep(0.1)"]
    process = subprocess.Popen(touching) if alive else None
    try:
        with lock.scope():
            if alive:
                with pytest.raises(UserError, match="process 7 on elsewhere, since 2026-01-01"):
                    lock.take(tmp_path)
            else:
                lock.take(tmp_path)
    finally:
        if process is not None:
            process.kill()
            process.wait()


def no_locks(*arguments: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        lock.take(tmp_path / "file" / "run")


def test_a_disk_without_room_for_the_holders_name_is_a_sentence_that_names_the_folder(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(UserError, match=rf"cannot write {tmp_path} \(File too large\)"):
            lock.take(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
