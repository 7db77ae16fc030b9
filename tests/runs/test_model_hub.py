"""Runs that lie on a model hub: fetched once, sampled as any other, refused in one sentence."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tests.runs.model_host import NAME, ModelHost, hosted
from tests.security.stranger import command, diffusion_file

from fieldforge.conditioning.hub import reach_hub
from fieldforge.errors import UserError
from fieldforge.publishing.card_header import library_file
from fieldforge.publishing.public_label import public_label
from fieldforge.runs.sample import run_sampling
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.initial_weights import start_file
from fieldforge.stages.locate import find_model
from fieldforge.stages.model_hub import hub_file
from fieldforge.training.processes.checkpoints import load_safely
from fieldforge.training.processes.published import write_published

WORD = f"hub:{NAME}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model, and beside its files some that could run code."""
    content = load_safely(diffusion_file(tmp_path_factory.mktemp("run") / "model.ckpt", lambda config: None))
    label = public_label({**content["fieldforge"], "steps": 6}, "float32")
    folder = tmp_path_factory.mktemp("published")
    write_published({"fieldforge": label, "state_dict": content["state_dict"]}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(library_file(label)))
    for name in ("modeling.py", "pytorch_model.bin", "model.ckpt"):
        (folder / name).write_bytes(b"raise SystemExit")
    return folder


@pytest.fixture
def host(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHost]:
    """The hub of the library, with a cache of its own."""
    for kept in (reach_hub, hub_file):
        kept.cache_clear()
    with hosted(model) as (host, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield host
    for kept in (reach_hub, hub_file):
        kept.cache_clear()


def refusal(word: str) -> str:
    with pytest.raises(UserError) as refused:
        find_model(word, "outputs", "diffusion")
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_it_is_sampled_and_only_data_is_fetched(host: ModelHost, model: Path, tmp_path: Path):
    small = ["n=1", "steps=1", "resolution=8", f"output_dir={tmp_path / 'outputs'}"]
    page = run_sampling(command("sample", f"run={WORD}", *small))
    assert page.is_relative_to(tmp_path / "outputs" / "hub" / "me--tiny" / "samples")
    fetched = {Path(path).name for path in host.requests if "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}
    file, stage = find_model(WORD, "outputs", "diffusion")
    assert (file.name, stage) == ("model.safetensors", "diffusion")
    theirs, ours = (load_diffusion(path)[0].model.state_dict() for path in (file, model / "model.safetensors"))
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_it_is_where_a_training_begins(host: ModelHost):
    config = command("train", "experiment=tiny", "data.root=nowhere", f"init_from={WORD}@v1")
    assert start_file(config) == hub_file(f"{WORD}@v1", "init_from")


def test_a_newer_revision_is_found_and_without_an_answer_the_copy_is_used(
    host: ModelHost, model: Path, monkeypatch: pytest.MonkeyPatch
):
    first = hub_file(WORD, "run")
    (model / "notes.md").write_text("another commit")
    hub_file.cache_clear()
    second = hub_file(WORD, "run")
    assert first.parent != second.parent
    assert first.read_bytes() == second.read_bytes()
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for kept in (reach_hub, hub_file):
        kept.cache_clear()
    assert hub_file(WORD, "run") == second
    assert "does not answer, and its cache has no such model" in refusal("hub:me/other")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("hub:me/other", "has no model of that name that you may read: correct the name"),
        (f"{WORD}@v2", "that model has no revision v2"),
        ("hub:me", "write hub:<owner>/<name>, with @<revision>"),
        ("hub:../../etc", "write hub:<owner>/<name>"),
        ("hub:", "write hub:<owner>/<name>"),
        (f"{WORD}@v1/../../x", "write hub:<owner>/<name>"),
    ],
)
def test_what_is_not_there_is_a_sentence(host: ModelHost, word: str, sentence: str):
    assert sentence in refusal(word)


@pytest.mark.parametrize("config", [None, b'{"library_name": "transformers"}', b"[1]", b"[" * 10**5, b"\xff"])
def test_a_repository_of_something_else_is_refused_before_its_weights_are_fetched(
    host: ModelHost, tmp_path: Path, model: Path, config: bytes | None
):
    host.folder = tmp_path / "theirs"
    host.folder.mkdir()
    (host.folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    if config is not None:
        (host.folder / "config.json").write_bytes(config)
    assert "holds no model of fieldforge" in refusal(WORD)
    assert not [path for path in host.requests if path.endswith(".safetensors")]


def test_a_repository_without_weights_or_with_damaged_ones_is_refused(host: ModelHost, tmp_path: Path, model: Path):
    host.folder = tmp_path / "theirs"
    host.folder.mkdir()
    (host.folder / "config.json").write_bytes((model / "config.json").read_bytes())
    assert "holds no model.safetensors" in refusal(WORD)
    hub_file.cache_clear()
    (host.folder / "model.safetensors").write_bytes(b"\x80\x04cposix\nsystem")
    assert "is damaged" in refusal(WORD)
