"""The first file of a stored encoder that is not what its ending says."""

import pytest
import torch
from safetensors.torch import save_file

from fieldforge.conditioning.damage import damaged_file


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "vocab.json").write_text("[]")
    (tmp_path / "notes.txt").write_bytes(b"\xff")
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    return tmp_path


def test_a_whole_folder_has_none(folder):
    assert damaged_file(folder) is None


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors", "pytorch_model.bin"])
def test_a_file_that_ends_early_is_named(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert damaged_file(folder) == name


def test_a_configuration_is_an_object(folder):
    (folder / "config.json").write_text("[]")
    assert damaged_file(folder) == "config.json"
