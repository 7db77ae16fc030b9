"""Files that are whole or not there, on disks that are full, among other processes that write."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fieldforge.errors import UserError
from fieldforge.storage.files import ABANDONED, atomic_file, remove_leftovers, temporary_name


@pytest.fixture
def small_files():
    """The system refuses files of more than 4 kB, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def write(path: Path, content: bytes) -> None:
    with atomic_file(path) as file:
        file.write(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_no_room_is_one_sentence_and_what_was_there_stays(tmp_path, small_files):
    write(tmp_path / "a", b"old")
    for content in (bytes(5000), bytes(50_000)):  # fails when it is flushed; when it is written
        with pytest.raises(UserError, match=r"cannot write .*/a \(File too large\): .* run the same command again"):
            write(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_disk_and_quota_are_alike(tmp_path, monkeypatch, number):
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=os.strerror(number)):
        write(tmp_path / "a", b"new")
    assert names(tmp_path) == []


def test_place_that_is_a_file_is_one_sentence(tmp_path):
    write(tmp_path / "a", b"")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "a" / "b", b"")


def test_what_fails_while_it_reads_is_not_said_of_the_file_that_is_written(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a"):
        (tmp_path / "none").read_bytes()
    assert names(tmp_path) == []


def test_leftovers_of_the_dead_go_and_files_of_the_living_stay(tmp_path):
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mine = temporary_name(tmp_path / "a").name
    machine = mine.rpartition("@")[2]
    of_living, elsewhere, old = f".a.{alive.pid}@{machine}", ".a.1@other.tmp", ".b.1@other.tmp"
    for name in (mine, f".a.999999999@{machine}", f"{of_living}", elsewhere, old, ".a.999999999.tmp", "a.tmp"):
        (tmp_path / name).write_bytes(b"half")
    long_ago = time.time() - 2 * ABANDONED
    os.utime(tmp_path / old, (long_ago, long_ago))
    remove_leftovers(tmp_path)
    alive.communicate()
    assert names(tmp_path) == sorted([of_living, elsewhere, "a.tmp"])
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([elsewhere, "a.tmp"])
