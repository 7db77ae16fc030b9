"""A stranger's checkpoint is data: what is pickled in it is refused, whichever way it comes in."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from tests.security.payload import Payload, refused

from fieldforge.errors import UserError
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.classifier_stage import load_classifier
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.locate import find_model
from fieldforge.stages.prior_stage import load_prior
from fieldforge.training.processes.checkpoints import FORMAT, AtomicCheckpointIO, find_last, load_safely, verify


def label(stage: str = "diffusion") -> dict:
    return {"format": FORMAT, "stage": stage, "fingerprint": "f", "step": 1, "config": {}}


def in_a_zip(path: Path, mark: Path) -> None:
    torch.save({"fieldforge": label(), "state_dict": {}, "more": Payload(mark)}, path)


def in_the_old_format(path: Path, mark: Path) -> None:
    torch.save({"fieldforge": label(), "more": Payload(mark)}, path, _use_new_zipfile_serialization=False)


def in_a_plain_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(mark)))


def in_the_label(path: Path, mark: Path) -> None:
    torch.save({"fieldforge": {**label(), "config": {"autoencoder": Payload(mark)}}, "state_dict": {}}, path)


WAYS = (in_a_zip, in_the_old_format, in_a_plain_pickle, in_the_label)


def test_the_payload_runs_where_pickles_are_read(mark):
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()


@pytest.mark.parametrize("write", WAYS)
@pytest.mark.parametrize(
    "load",
    [load_safely, load_autoencoder, load_diffusion, load_classifier, load_prior, AtomicCheckpointIO().load_checkpoint],
)
def test_pickled_code_in_a_checkpoint_does_not_run(write, load, tmp_path, mark):
    write(tmp_path / "model.ckpt", mark)
    assert "model.ckpt" in refused(mark, lambda: load(tmp_path / "model.ckpt"))


@pytest.mark.parametrize("write", WAYS)
def test_nor_where_a_run_is_looked_for_or_resumed(write, tmp_path, mark):
    run = tmp_path / "stranger" / "0123"
    (run / "checkpoints").mkdir(parents=True)
    write(run / "model.ckpt", mark)
    refused(mark, lambda: find_model(None, str(tmp_path), "diffusion"))
    refused(mark, lambda: find_model(str(run), str(tmp_path), "diffusion"))
    write(run / "checkpoints" / "step_000000001.ckpt", mark)
    refused(mark, lambda: find_last(run / "checkpoints", "f"))


@pytest.mark.parametrize("member", ["model/data.pkl", "model/further"])
def test_a_file_that_would_unfold_is_refused_before_it_does(member, tmp_path):
    torch.save({"fieldforge": label(), "state_dict": {}}, tmp_path / "model.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "model.ckpt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in {*plain.namelist(), member}:
            bomb.writestr(name, bytes(1 << 20) if name == member else plain.read(name))
    for load in (load_safely, lambda path: load_safely(path, mmap=True), verify):
        with pytest.raises(UserError, match=r"bomb.ckpt is compressed"):
            load(tmp_path / "bomb.ckpt")
