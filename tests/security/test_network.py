"""A run from elsewhere reaches no place that the user did not type, and no value of the environment leaves."""

import pytest
from tests.runs.tiny import write_balls
from tests.security.stranger import autoencoder_file, command, counting_host, diffusion_file

from fieldforge.conditioning import SentenceEncoder
from fieldforge.conditioning.hub import reach_hub
from fieldforge.conditioning.reach import local_encoders
from fieldforge.configuration.stored_config import is_local, plain_config
from fieldforge.errors import UserError
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.stages.autoencoder_stage import finished_autoencoder, finished_file
from fieldforge.stages.diffusion_stage import load_diffusion

SECRET = "the-canary"
ROOTS = (
    "{host}/shards",
    "{host}/${{oc.env:CANARY}}",
    "{host}/$CANARY",
    "{host}/${{WDS_CANARY}}",
    "${{oc.env:CANARY_HOST}}",
    "{{{host},/tmp}}/shards",
    "/tmp::{host}/shards",
    "file://{host}/shards",
    "HTTP://127.0.0.1/shards",
    "s3://bucket/shards",
    "//127.0.0.1/share",
    "\\\\127.0.0.1\\share",
    "/net/127.0.0.1/shards",
    "/proc/self/cwd",
    "/dev/fd",
    "pipe:touch x",
    "",
)


@pytest.fixture
def host(monkeypatch):
    with counting_host() as host:
        for name, value in {
            "CANARY": SECRET, "WDS_CANARY": SECRET, "CANARY_HOST": f"{host.address}/{SECRET}", "AWS_ALLOW_HTTP": "true",
            "AWS_ENDPOINT_URL": host.address, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "x",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        yield host


def sentence(act) -> str:
    with pytest.raises(UserError) as error:
        act()
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("root", ROOTS)
def test_a_stored_place_is_not_asked(root, host, tmp_path):
    def name_it(stored: dict) -> None:
        stored["data"]["root"] = root.format(host=host.address)

    run = autoencoder_file(tmp_path / "run" / "model.ckpt", name_it).parent
    assert "give data_root=" in sentence(lambda: run_evaluation(command("evaluate", f"run={run}")))
    assert host.requests == []


@pytest.mark.parametrize("root", ROOTS[:5])
def test_nor_that_of_a_diffusion_model(root, host, tmp_path):
    def name_it(stored: dict) -> None:
        stored["data"]["root"] = [root.format(host=host.address)]

    run = diffusion_file(tmp_path / "run" / "model.ckpt", name_it).parent
    assert "give data_root=" in sentence(lambda: run_evaluation(command("evaluate", f"run={run}")))
    assert host.requests == []


def test_what_the_user_types_is_asked(host, tmp_path):
    run = autoencoder_file(tmp_path / "run" / "model.ckpt", lambda stored: None).parent
    typed = command("evaluate", f"run={run}", f"data_root={host.address}/shards")
    assert host.address in sentence(lambda: run_evaluation(typed))
    assert host.requests


def test_a_folder_of_this_machine_is_read(tmp_path):
    shards = write_balls(tmp_path / "shards", train=1, heldout=1)

    def name_it(stored: dict) -> None:
        stored["data"]["root"] = str(shards)
        stored["name"] = "${oc.env:CANARY}"

    run = autoencoder_file(tmp_path / "run" / "model.ckpt", name_it).parent
    small = ("reconstruction.resolution=8", "reconstruction.pictures=0", "+domain.surface_points=50")
    run_evaluation(command("evaluate", f"run={run}", *small))
    for place in (f"{shards}/*.tar", [str(shards), f"{shards}/manifest.json"], f"{tmp_path}/{{shards,shards}}"):
        assert is_local({"data": {"root": place}})


def test_a_given_autoencoder_does_not_look_for_its_data(host, tmp_path):
    def name_it(stored: dict) -> None:
        stored["data"]["root"] = f"{host.address}/${{oc.env:CANARY}}"

    run = autoencoder_file(tmp_path / "run" / "model.ckpt", name_it).parent
    config = command("train", "experiment=tiny", "data.root=nowhere", f"+autoencoder_run={run}")
    file = finished_file(config)
    assert file is not None
    assert finished_autoencoder(config, file).fingerprint == "0" * 12
    assert host.requests == []


def test_texts_in_a_stored_configuration_stay_what_they_are(host, tmp_path):
    texts = ["${oc.env:CANARY}", "a ${b} \\${c} \\\\${d}", "${", "\\", "$CANARY", "???x"]
    assert list(plain_config({"names": texts}).names) == texts

    def name_it(stored: dict) -> None:
        stored["name"] = f"{host.address}/${{oc.env:CANARY}}"

    _, _, label = load_diffusion(diffusion_file(tmp_path / "model.ckpt", name_it))
    assert label["config"]["name"] == f"{host.address}/${{oc.env:CANARY}}"
    assert host.requests == []


@pytest.mark.parametrize("model", ["owner/name", "http://127.0.0.1/x", "//127.0.0.1/share", "/proc/self/cwd", "name"])
def test_encoders_that_a_run_names_are_not_fetched(model, host, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", host.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reach_hub.cache_clear()

    def name_it(stored: dict) -> None:
        encoder = {"_target_": "fieldforge.conditioning.SentenceEncoder", "model": model, "layer": "last"}
        text = {"_target_": "fieldforge.conditioning.TextSource", "_partial_": True, "encoder": encoder}
        stored["conditioner"] |= {"sources": ["text"], "parts": {"text": text}}

    path = diffusion_file(tmp_path / "run" / "model.ckpt", name_it)
    assert model in sentence(lambda: load_diffusion(path))
    assert host.requests == []


def test_encoders_that_are_loaded_later_are_not_fetched_either(host, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", host.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reach_hub.cache_clear()
    with local_encoders():
        encoder = SentenceEncoder("owner/name")
    for use in (encoder.check_present, lambda: encoder.tokenizer, lambda: encoder.network, lambda: encoder.config):
        sentence(use)
    assert host.requests == []
    SentenceEncoder("owner/name").check_present()  # one that the user names is asked for
    assert host.requests
    reach_hub.cache_clear()
