"""Checkpoints: whole or not there, verified before they are trusted."""

import resource
import signal
from pathlib import Path

import pytest
import torch

from fieldforge.errors import UserError
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.fingerprint import differences, fingerprint
from fieldforge.training.processes import checkpoints as checkpointing
from fieldforge.training.processes.checkpoints import FORMAT, find_last, load_safely, read_checkpoint, save_atomically
from fieldforge.training.processes.sharded_state import file_name, whole


def content(step: int) -> dict:
    return {
        "fieldforge": {"format": FORMAT, "fingerprint": "mine", "step": step, "stage": "x"},
        "weights": torch.arange(5000.0) + step,
    }


def flip_bit(path: Path) -> None:
    """In the middle of the file, which is one of a tensor's."""
    altered = bytearray(path.read_bytes())
    altered[len(altered) // 2] ^= 1
    path.write_bytes(altered)


def spread(path: Path, step: int) -> None:
    """A checkpoint as two processes write it."""
    path.mkdir(parents=True)
    for rank in range(2):
        save_atomically(content(step), path / file_name(rank, 2))


def test_flipped_bit_leads_to_the_checkpoint_before(tmp_path, caplog):
    for step in (1, 2):
        save_atomically(content(step), tmp_path / f"step_{step:09d}.ckpt")
    flip_bit(tmp_path / "step_000000002.ckpt")
    assert find_last(tmp_path, "mine").step == 1
    assert "step_000000002.ckpt is damaged" in caplog.text
    flip_bit(tmp_path / "step_000000001.ckpt")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
        find_last(tmp_path, "mine")


def test_flipped_bit_in_the_file_of_one_process_leads_to_the_checkpoint_before(tmp_path, caplog):
    for step in (1, 2):
        spread(tmp_path / f"step_{step:09d}.ckpt", step)
    flip_bit(tmp_path / "step_000000002.ckpt" / file_name(1, 2))
    last = find_last(tmp_path, "mine")
    assert last.step == 1
    assert torch.equal(whole(read_checkpoint(last.path))["weights"], content(1)["weights"])
    assert f"{file_name(1, 2)} is damaged" in caplog.text


def test_flipped_bit_in_a_finished_model_is_one_sentence(tmp_path):
    run = StageDirectory.of("x", tmp_path, {"a": 1})
    run.save_model({"weights": torch.arange(5000.0)}, {})
    assert run.finished
    flip_bit(run.model)
    with pytest.raises(UserError, match=r"model.ckpt is damaged \(checksum of .*\): delete it or use another"):
        load_safely(run.model)
    with pytest.raises(UserError, match=r"model.ckpt is damaged"):
        run.finished  # noqa: B018


def test_every_bit_of_a_tensor_counts(tmp_path):
    path = tmp_path / "a.ckpt"
    save_atomically(content(1), path)
    stored = path.read_bytes()
    at = stored.index(content(1)["weights"].numpy().tobytes())
    for place in (at, at + 9999, at + 19_999):
        for bit in (1, 128):
            altered = bytearray(stored)
            altered[place] ^= bit
            path.write_bytes(altered)
            with pytest.raises(UserError, match="is damaged"):
                load_safely(path)


def test_start_removes_what_killed_writers_left(tmp_path):
    run = StageDirectory.of("x", tmp_path, {"a": 1})
    for folder in (run.checkpoints, run.pictures, run.path / "snapshots"):
        folder.mkdir(parents=True)
        (folder / ".step_000000004.ckpt.999999999.tmp").write_bytes(b"half")
    (run.checkpoints / ".step_000000004.ckpt.tmp").mkdir()
    (run.checkpoints / ".step_000000004.ckpt.tmp" / file_name(0, 2)).write_bytes(b"half")
    (run.path / ".metrics.csv.999999999.tmp").write_bytes(b"half")
    save_atomically(content(3), run.checkpoints / "step_000000003.ckpt")
    run.open({})
    assert not list(tmp_path.rglob("*.tmp"))
    assert (run.checkpoints / "step_000000003.ckpt").is_file()


def test_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "outputs").write_text("a file")
    run = StageDirectory.of("x", tmp_path / "outputs", {"a": 1})
    with pytest.raises(UserError, match=r"cannot write .*outputs"):
        run.open({})
    with pytest.raises(UserError, match=r"cannot write .*outputs"):
        save_atomically(content(1), run.checkpoints / "step_000000001.ckpt")


def test_half_a_checkpoint_is_never_there(tmp_path, monkeypatch):
    save_atomically(content(1), tmp_path / "a.ckpt")

    def full(value, stream):
        stream.write(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:859] . PytorchStreamWriter failed writing file")

    monkeypatch.setattr(checkpointing.torch, "save", full)
    with pytest.raises(UserError, match="earlier checkpoints are intact"):
        save_atomically(content(2), tmp_path / "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    assert load_safely(tmp_path / "a.ckpt")["fieldforge"]["step"] == 1


def test_how_to_react_is_no_part_of_the_identity():
    def run(**data: object) -> dict:
        return {"data": {"mixing": {"slots": 64}, "on_bad_shard": "error", **data}, "training": {"lr": 1e-3}}

    same = {"on_bad_shard": "skip", "num_workers": 4, "cache": {"folder": "x"}, "retries": 3, "patience": 5}
    assert fingerprint(run(**same)) == fingerprint(run())
    assert differences(run(**same), run()) == []
    assert fingerprint(run(augment=True)) != fingerprint(run())


def test_reason_of_the_system_is_said(tmp_path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match=r"a.ckpt \(File too large\): earlier checkpoints are intact"):
            save_atomically(content(1), tmp_path / "a.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
