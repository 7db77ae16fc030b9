"""Checkpoints whose label lacks something or holds it in another type: one sentence that names the file."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from tests.security.stranger import command, diffusion_file

from fieldforge.configuration.growth import bounded
from fieldforge.errors import UserError
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.locate import find_model
from fieldforge.training.processes.checkpoints import save_atomically


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict:
    path = diffusion_file(tmp_path_factory.mktemp("sound") / "model.ckpt", lambda stored: None)
    return torch.load(path, weights_only=True)


def altered(sound: dict, path: Path, key: str, value: object) -> Path:
    """The sound checkpoint with one part (dotted) of another value, or without it where that is None."""
    content = {**sound, "fieldforge": dict(sound["fieldforge"])}
    *parents, last = key.split(".")
    place = content
    for name in parents:
        place[name] = dict(place[name])
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    save_atomically(content, path)
    return path


@pytest.mark.parametrize("value", [None, 7, [1], b"bytes"])
@pytest.mark.parametrize(
    "key",
    [
        "fieldforge", "fieldforge.format", "fieldforge.stage", "fieldforge.fingerprint", "fieldforge.config",
        "fieldforge.autoencoder", "fieldforge.autoencoder.config", "fieldforge.encoders",
        "fieldforge.autoencoder_state_dict", "state_dict", "fieldforge.config.backbone",
    ],
)  # fmt: skip
def test_a_damaged_label_is_a_sentence_that_names_the_file(key, value, sound, tmp_path):
    path = altered(sound, tmp_path / "model.ckpt", key, value)
    with pytest.raises(UserError, match=r"model\.ckpt") as mistake:
        load_diffusion(path)
    assert "\n" not in str(mistake.value)
    with pytest.raises(UserError, match=r"model\.ckpt"):
        run_evaluation(command("evaluate", f"run={path}", f"output_dir={tmp_path}"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("domain", value) for value in (None, 7, [1], "text")),
        *(("domain.points", value) for value in ([1], "text", 0)),
    ],
)
def test_what_only_its_domain_reads_of_it(key, value, sound, tmp_path):
    path = altered(sound, tmp_path / "model.ckpt", f"fieldforge.config.{key}", value)
    with pytest.raises(UserError, match=r"model\.ckpt"):
        run_sampling(command("sample", f"run={path}", f"from={path}", f"output_dir={tmp_path}"))


def test_weights_that_are_no_real_numbers_are_named(sound, tmp_path):
    """PyTorch would drop their imaginary parts."""
    name, weight = next(item for item in sound["state_dict"].items() if item[1].is_floating_point())
    weights = {**sound["state_dict"], name: weight.to(torch.complex64)}
    path = altered(sound, tmp_path / "model.ckpt", "state_dict", weights)
    with pytest.raises(UserError, match=rf"model\.ckpt: {name} holds torch.complex64, no real numbers"):
        load_diffusion(path)


@pytest.mark.parametrize(("key", "value"), [("layers", 10**9), ("width", 2**14)])
def test_a_configuration_of_a_larger_model_than_its_weights_is_refused_while_it_is_built(key, value, sound, tmp_path):
    backbone = {**sound["fieldforge"]["config"]["backbone"], key: value}
    path = altered(sound, tmp_path / "model.ckpt", "fieldforge.config.backbone", backbone)
    room = f"{4 * path.stat().st_size:,}"
    with pytest.raises(UserError, match=rf"model\.ckpt: .*a model of more than {room} bytes.*weights are those of a"):
        load_diffusion(path)


def test_parameters_that_do_not_fit_are_refused_before_they_are_filled():
    with pytest.raises(UserError, match=r"more than 1,048,576 bytes"), bounded(2**20):
        torch.nn.Linear(1024, 1024)
    torch.nn.Linear(1024, 1024)
    with bounded(2**20):
        torch.nn.Linear(256, 256)
    with pytest.raises(UserError, match=r"more than 50,000 tensors"), bounded(2**20):
        torch.nn.ParameterList([torch.empty(0)] * 50_001)


def test_a_damaged_newest_run_is_passed_over(sound, tmp_path, caplog):
    good = tmp_path / "a" / "1" / "model.ckpt"
    good.parent.mkdir(parents=True)
    save_atomically(sound, good)
    cut = tmp_path / "a" / "2" / "model.ckpt"
    cut.parent.mkdir()
    shutil.copy(good, cut)
    os.truncate(cut, 100)
    nameless = altered(sound, tmp_path / "a" / "3" / "model.ckpt", "fieldforge.stage", None)
    for age, path in enumerate((nameless, cut, good)):
        os.utime(path, (1e9 - age, 1e9 - age))
    assert find_model(None, str(tmp_path), "diffusion") == (good, "diffusion")
    for path in (nameless, cut):
        assert any(str(path) in line and "passed over" in line for line in caplog.messages)
    good.unlink()
    with pytest.raises(UserError, match="that can be read"):
        find_model(None, str(tmp_path), "diffusion")
