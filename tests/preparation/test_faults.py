"""Only what is an asset's own fault rejects it; what is the machine's ends the preparation, which can go on."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.preparation import make
from tests.preparation.make import CUBE_OBJ, LIMITS, read_lines, record, tiny_settings, write_cubes

from fieldforge.engines.engine import LocalEngine
from fieldforge.errors import UserError
from fieldforge.preparation import workers
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.faults import lacks_memory, machine_fault
from fieldforge.preparation.pipeline import prepare
from fieldforge.preparation.recipe import PreparedAsset
from fieldforge.preparation.staging import Staging
from fieldforge.readers.file_store import AssetError
from fieldforge.readers.limits import Limits
from fieldforge.storage.files import make_folder
from fieldforge.storage.output import LocalOutput

GUARDED = tiny_settings(
    limits=Limits(max_triangles=100_000, max_file_mb=16, min_thickness=0.005, max_seconds=4, max_memory_gb=0.75)
)


@dataclass(frozen=True)
class FaultyStaging(Staging):
    """Fails while it puts the assets whose ids hold "-b", "-c" and "-d"; an `errno` for -a, or memory for ever."""

    number: int = 0

    def put(self, record: AssetRecord, prepared: PreparedAsset) -> None:
        if self.number and "-a" in record.id:
            raise OSError(self.number, os.strerror(self.number))
        if "-b" in record.id:
            sum(range(10**12))  # lets no other thread of Python run
        if "-c" in record.id:
            held = [np.ones(2**24) for _ in range(100)]  # 13 GB, if it is allowed to
            held.clear()
        if "-d" in record.id:
            raise MemoryError("of 64 assets at once")
        super().put(record, prepared)


def stage(staging: Staging, records: list[AssetRecord], workers: int = 2) -> list[str]:
    return make.stage(staging, records, GUARDED, workers)[0]


def test_assets_that_take_too_long_or_too_much_memory_are_rejected_and_the_others_go_on(tmp_path: Path):
    records = write_cubes(tmp_path / "assets", 6).records(2**24)
    staging = FaultyStaging(LocalOutput(tmp_path / "staging"))
    assert sorted(stage(staging, records)) == [record.id for record in records]
    reasons = [staging.reason(record) or "" for record in records]
    assert [bool(reason) for reason in reasons] == [False, True, True, True, False, False]
    assert "longer than 4 s; simplify it, or raise preparation.limits.max_seconds" in reasons[1]
    for reason in reasons[2:4]:
        assert "more than 0.75 GB of memory; simplify it, or raise preparation.limits.max_memory_gb" in reason
    staging.forget_limits()  # as the next call does: it may be granted more
    assert [staging.name(record) in staging.found() for record in records] == [True, False, False, False, True, True]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_rejects_nothing(tmp_path: Path, number: int):
    records = write_cubes(tmp_path / "assets", 1).records(2**24)
    with pytest.raises(UserError, match=rf"cannot write .*staging.* \({os.strerror(number)}\).*same command again"):
        stage(FaultyStaging(LocalOutput(tmp_path / "staging"), number), records, workers=1)
    assert LocalOutput(tmp_path / "staging").all_names() == []
    assert stage(Staging(LocalOutput(tmp_path / "staging")), records, workers=1) == ["thing-a.obj"]
    assert Staging(LocalOutput(tmp_path / "staging")).reason(records[0]) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB that the test may enlarge."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.name != "posix" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only an administrator can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_loses_nothing(tmp_path: Path, small_disk: Path):
    """Neither while assets are staged nor while shards are written of them."""
    source, settings = write_cubes(tmp_path / "assets", 4), tiny_settings(heldout_share=0.0)
    whole = prepare(source, settings, 0, tmp_path / "whole", LocalEngine(1)).manifest
    staged, sentences = 0, []
    for size in range(64, 512, 16):
        subprocess.run(["mount", "-o", f"remount,size={size}k", str(small_disk)], check=True)
        try:
            report = prepare(source, settings, 0, small_disk / "out", LocalEngine(1))
            break
        except UserError as error:
            sentences.append(str(error))
        now = len(list((small_disk / "out").glob(".staging/*/*/*.tar")))
        assert now >= staged
        staged = now
    assert all(
        sentence.startswith(f"cannot write {small_disk}") and "No space left" in sentence for sentence in sentences
    )
    assert staged == 4  # it was full for the shards too
    assert read_lines(small_disk / "out" / "rejected.jsonl") == []
    assert report.manifest == whole


def test_a_source_that_goes_away_rejects_nothing(tmp_path: Path):
    records = write_cubes(tmp_path / "assets", 1).records(2**24)
    (tmp_path / "assets").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"assets is no longer there \(on .*\): bring it back"):
        stage(Staging(LocalOutput(tmp_path / "staging")), records, workers=1)
    assert LocalOutput(tmp_path / "staging").all_names() == []


def wrapped(cause: BaseException) -> AssetError:
    """As readers do."""
    error = AssetError("the GLB file cannot be read")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EIO, "Input/output error"), "as the machine fails \\(Input/output error\\)"),
        (wrapped(OSError(errno.EMFILE, "Too many open files")), "Too many open files"),
        (wrapped(ModuleNotFoundError("No module named 'igl'")), "needs a library .*igl.*pip install"),
        (UserError("a library is missing: install it"), "a library is missing"),
        (OSError("image file is truncated"), None),
        (PermissionError(errno.EACCES, "Permission denied"), None),
        (wrapped(ValueError("bad")), None),
        (AssetError("it is flat"), None),
        (AssetError("the file 'gone.obj' is missing"), r"no longer holds 'gone.obj' \(on .*\): bring it back"),
    ],
)
def test_whose_fault_it_is(tmp_path: Path, error: Exception, sentence: str | None):
    (tmp_path / "a.obj").touch()
    fault = machine_fault(error, record("gone.obj" if "gone" in str(error) else "a.obj", tmp_path))
    assert (fault is None) == (sentence is None)
    if sentence is not None:
        with pytest.raises(UserError, match=sentence):
            raise fault  # type: ignore[misc]


def test_memory_that_a_reader_was_refused_is_found():
    assert lacks_memory(wrapped(MemoryError()))
    assert not lacks_memory(wrapped(ValueError()))


def test_memory_that_the_shell_refuses_rejects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An asset that fits everywhere else is not lost for good."""
    monkeypatch.setattr(workers, "shell_memory_limit", lambda: 2**29)
    records = write_cubes(tmp_path / "assets", 4).records(2**24)[3:]
    with pytest.raises(UserError, match=r"'thing-d.obj' needs more memory than the 0\.5 GB that the shell grants"):
        stage(FaultyStaging(LocalOutput(tmp_path / "staging")), records)
    assert LocalOutput(tmp_path / "staging").all_names() == []


def test_no_process_outlives_a_killed_preparation(tmp_path: Path):
    """Even one inside a library that never comes back."""
    code = (
        "import sys; from pathlib import Path; from tests.preparation import test_faults as t\n"
        "t.GUARDED.limits.__dict__.update(max_seconds=1000)\n"
        "t.stage(t.FaultyStaging(t.LocalOutput(Path(sys.argv[1]) / 'staging')), "
        "t.write_cubes(Path(sys.argv[1]) / 'assets', 2).records(2**24))\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, process_group=0)
    while not list((tmp_path / "staging").glob("*/thing-a*.tar")) and run.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=20)  # ends when the last process that holds the pipe has ended
    for _ in range(100):
        try:
            os.killpg(run.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process is left")


@pytest.mark.parametrize("place", ["a_file", "a_file/below", "x" * 300, "nul\0"])
def test_an_output_that_cannot_be_is_refused_by_its_key(tmp_path: Path, place: str):
    (tmp_path / "a_file").write_text(CUBE_OBJ)
    with pytest.raises(UserError, match=r"output=.* cannot be made a folder to write to \(.*\): give another place"):
        make_folder(tmp_path / place, "output")
    with pytest.raises(UserError, match="output="):
        prepare(write_cubes(tmp_path / "assets", 1), GUARDED, 0, tmp_path / place, LocalEngine(1))


def test_limits_of_the_machine_do_not_determine_samples():
    assert tiny_settings(limits=GUARDED.limits).determining() == tiny_settings(limits=LIMITS).determining()
    with pytest.raises(UserError, match=r"preparation\.limits\.max_seconds=0 must be above 0"):
        Limits(max_triangles=1, max_file_mb=1, min_thickness=0, max_seconds=0)
