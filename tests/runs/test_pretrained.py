"""Weights that a repository holds: published by one command, sampled and trained on by the others."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.runs.conftest import ROOT, Place

from fieldforge.errors import UserError
from fieldforge.planning.plan import make_plan
from fieldforge.publishing.card import HEADING
from fieldforge.publishing.public_label import without_places
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.export import run_export
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages import pretrained
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.locate import find_model
from fieldforge.stages.model_hub import LIBRARY
from fieldforge.training.processes import published as published_files
from fieldforge.training.processes.published import DIGEST, LABEL, digest, read_published

SMALL = ["steps=2", "resolution=16", "n=1"]
STILL = "training.diffusion.optimizer.lr=1e-12"
ROUNDING = 0.02
"""Of what a model makes, relative to its root mean square: float16 has 11 bits, and errors of steps add up."""


@dataclass(frozen=True)
class Published:
    """A run, and the folder `pretrained` that it is published in."""

    place: Place
    runs: dict[str, StageDirectory]
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "shapes" / "model.safetensors"


def command(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        return compose(name, list(overrides))


@pytest.fixture(scope="module")
def published(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    place = Place(balls, tmp_path_factory.mktemp("trained"))
    runs = run_training(place.compose("callbacks.pictures=null"))
    folder = tmp_path_factory.mktemp("repository") / "pretrained"
    typed = [f"run={runs['diffusion'].path}", f"output={folder / 'shapes'}", f"output_dir={place.outputs}"]
    run_export(command("export", "format=card", *typed, "command='python train.py experiment=tiny'"))
    return Published(place, runs, folder)


@pytest.fixture
def in_the_box(published: Published, monkeypatch: pytest.MonkeyPatch) -> Published:
    monkeypatch.setattr(pretrained, "FOLDER", published.folder)
    return published


@pytest.fixture
def fresh(published: Published, tmp_path: Path) -> Place:
    """Another place for outputs, without a run."""
    return Place(published.place.data, tmp_path / "fresh")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_what_comes_out_of_published_weights_is_what_the_run_makes(published: Published):
    latents, fields = [], []
    for path in (published.runs["diffusion"].model, published.file):
        generator, autoencoder, _ = load_diffusion(path)
        with torch.no_grad():
            latents.append(generator({"class": ["red", "blue"]}, [0, 1], 3.0))
            fields.append(torch.cat([value.flatten() for value in autoencoder.decode(latents[-1]).values()]))
    for exact, other in (latents, fields):
        assert (exact - other).abs().max() < ROUNDING * exact.square().mean().sqrt()
        assert not torch.equal(exact, other)


def test_learned_weights_are_halves_and_statistics_are_whole(published: Published):
    stored = load_file(published.file)
    assert {value.dtype for name, value in stored.items() if name.endswith(".weight")} == {torch.float16}
    exact = weights(published.runs["autoencoder"].model)
    for name in ("latent_mean", "latent_std"):
        assert torch.equal(stored[f"autoencoder.{name}"], exact[name])
    content = read_published(published.file)
    assert all(value.dtype is not torch.float16 for value in content["state_dict"].values())


def test_a_large_model_has_its_autoencoder_beside_it(published: Published, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(published_files, "LARGEST", 1000)
    run = published.runs["diffusion"].path
    run_export(
        command("export", "format=card", f"run={run}", f"output={tmp_path}", f"output_dir={published.place.outputs}")
    )
    file, inner = tmp_path / "model.safetensors", tmp_path / "autoencoder.safetensors"
    assert load_file(file).keys() | load_file(inner).keys() == load_file(published.file).keys()
    assert "autoencoder.safetensors` 0." in (tmp_path / "README.md").read_text()
    whole, parts = (read_published(path) for path in (published.file, file))
    for kind in ("state_dict", "autoencoder"):
        one, other = (
            content["state_dict"] if kind == "state_dict" else content["fieldforge"]["autoencoder_state_dict"]
            for content in (whole, parts)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    flipped(inner, inner)
    with pytest.raises(UserError, match="is damaged"):
        read_published(file)
    inner.unlink()
    with pytest.raises(UserError, match=r"no published model .*autoencoder\.safetensors"):
        read_published(file)


def test_no_place_of_this_machine_is_in_the_files(published: Published):
    places = (published.place.outputs, published.place.data, published.folder, ROOT, Path.home())
    for path in published.file.parent.iterdir():
        content = path.read_bytes()
        assert [str(place) for place in places if str(place).encode() in content] == []


def test_places_of_data_are_left_out_at_any_depth():
    features = {"_target_": "StoredFeatures", "root": "shards/mine", "sources": ["text"]}
    config = {
        "data": {"root": "shards/mine", "patience": 5.0, "cache": {"folder": "fast"}},
        "latent_data": {"root": None, "transforms": {"features": features, "labels": {"_target_": "Labels"}}},
        "autoencoder": {"root": "of a tree"},
        "output_dir": "outputs",
    }
    assert without_places(config) == {
        "data": {"patience": 5.0},
        "latent_data": {
            "transforms": {
                "features": {"_target_": "StoredFeatures", "sources": ["text"]},
                "labels": {"_target_": "Labels"},
            }
        },
        "autoencoder": {"root": "of a tree"},
    }


def test_a_place_that_cannot_be_left_out_is_refused(published: Published, tmp_path: Path):
    content = torch.load(published.runs["diffusion"].model, weights_only=True)
    content["fieldforge"]["config"]["conditioner"]["clip"] = "/somewhere/clip"
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match=r"config\.conditioner\.clip=/somewhere/clip is a place on this machine"):
        run_export(command("export", "format=card", f"run={tmp_path}", f"output={tmp_path / 'out'}"))
    assert not (tmp_path / "out").exists()


def test_the_card_says_what_the_model_was_made_of(published: Published):
    card = (published.file.parent / "README.md").read_text()
    assert "`python train.py experiment=tiny`" in card
    assert "diffusion " in card
    assert "6 steps in" in card
    assert "9 assets to train on" in card
    assert "CC0: 9" in card
    header = yaml.safe_load(card.split("---")[1])
    assert (header["library_name"], header["license"]) == (LIBRARY, "other")  # "CC0" alone is no identifier
    assert "python sample.py run=hub:<owner>/shapes class=…" in card
    config = json.loads((published.file.parent / "config.json").read_text())
    assert config["label"]["fingerprint"] == read_published(published.file)["fieldforge"]["fingerprint"]
    assets = (published.file.parent / "assets.csv").read_text().splitlines()
    assert assets[0] == "name,creator,licence,id"
    assert len(assets) == 10


def test_publishing_again_keeps_what_a_person_wrote_and_adds_figures(published: Published, tmp_path: Path):
    run = published.runs["diffusion"].path
    (run / "evaluation").mkdir(exist_ok=True)
    (run / "evaluation" / "prompts.json").write_text('{"name": {"share": 0.25}, "measured_with": {"count": 3}}')
    write_picture(Image.new("RGB", (3200, 40)), run / "evaluation" / "prompts.png")
    (tmp_path / "README.md").write_text(f"old facts\n\n{HEADING}\n\nThin legs break.\n")
    run_export(
        command("export", "format=card", f"run={run}", f"output={tmp_path}", f"output_dir={published.place.outputs}")
    )
    card = (tmp_path / "README.md").read_text()
    assert card.endswith(f"{HEADING}\n\nThin legs break.\n")
    assert "old facts" not in card
    assert "| prompts.name.share | 0.25 |" in card
    assert "measured_with" not in card
    assert "![prompts](prompts.jpg)" in card
    assert Image.open(tmp_path / "prompts.jpg").size == (1600, 20)


def rewritten(file: Path, path: Path, change, text: str | None = None) -> None:
    """A copy whose tensors `change` has altered in place, with a checksum that fits."""
    tensors = load_file(file)
    change(tensors)
    with safe_open(file, "pt") as opened:
        text = opened.metadata()[LABEL] if text is None else text
    save_file(tensors, path, {LABEL: text, DIGEST: digest(text, tensors)})


def nothing(tensors: dict) -> None:
    pass


def cut(file: Path, path: Path) -> None:
    path.write_bytes(file.read_bytes()[:-100])


def flipped(file: Path, path: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def strange(tensors: dict) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)


DAMAGES = {
    "cut": (cut, "is damaged"),
    "altered": (flipped, "is damaged .its checksum"),
    "a huge header": (lambda file, path: path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}"), "is damaged"),
    "no header": (lambda file, path: path.write_bytes(b"x"), "is damaged"),
    "a strange type": (lambda file, path: rewritten(file, path, strange), "float8_e4m3fn, no weights"),
    "lost tensors": (lambda file, path: rewritten(file, path, lambda tensors: tensors.popitem()), "do not fit"),
    "no label": (lambda file, path: save_file(load_file(file), path), "is no published model"),
    "a label of another kind": (lambda file, path: rewritten(file, path, nothing, "[1]"), "is no published model"),
    "a deep label": (lambda file, path: rewritten(file, path, nothing, "[" * 10**5), "is no published model"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_whole_is_refused_in_one_sentence(published: Published, tmp_path: Path, damage: str):
    make, sentence = DAMAGES[damage]
    make(published.file, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=sentence) as refusal:
        load_diffusion(tmp_path / "model.safetensors")
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


def test_an_inner_label_does_not_lead_out_of_the_outputs(published: Published, fresh: Place, tmp_path: Path):
    with safe_open(published.file, "pt") as opened:
        label = json.loads(opened.metadata()[LABEL])
    label["autoencoder"]["fingerprint"] = "../../elsewhere"
    rewritten(published.file, tmp_path / "model.safetensors", nothing, json.dumps(label))
    with pytest.raises(UserError, match="fingerprint is none"):
        run_training(fresh.compose(f"autoencoder_run={tmp_path}", "stages=[autoencoder,latents]"))


@pytest.mark.parametrize("run", ["pretrained", "pretrained/shapes", None])
def test_it_is_sampled_from_any_folder(in_the_box: Published, run, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    before = sorted(in_the_box.folder.rglob("*"))
    typed = [f"run={run}"] if run else []
    with caplog.at_level("INFO"):
        page = run_sampling(command("sample", *typed, "class=red", *SMALL))
    assert page.parents[1] == Path("outputs/pretrained/shapes/samples")
    assert page.is_file()
    assert sorted(in_the_box.folder.rglob("*")) == before
    assert ("no finished diffusion below outputs: the pretrained one is used" in caplog.text) == (run is None)


def test_a_finished_run_goes_before_it(in_the_box: Published):
    page = run_sampling(command("sample", f"output_dir={in_the_box.place.outputs}", "class=red", *SMALL))
    assert page.is_relative_to(in_the_box.runs["diffusion"].path)


def test_without_weights_in_the_box_there_is_a_sentence(tmp_path: Path):
    (pretrained.FOLDER / "emoji").mkdir()
    (pretrained.FOLDER / "emoji" / "model.safetensors").touch()
    with pytest.raises(UserError, match=r"run=pretrained: there is no .*shapes.*, only pretrained/emoji: give run="):
        find_model("pretrained", str(tmp_path), "diffusion")
    with pytest.raises(UserError, match="no finished diffusion below"):
        run_sampling(command("sample", f"output_dir={tmp_path}"))


def test_the_box_lies_beside_the_package():
    from importlib import reload

    assert reload(pretrained).FOLDER == ROOT / "pretrained"


def test_it_is_evaluated_below_the_outputs_on_shards_that_are_named(in_the_box: Published, tmp_path: Path):
    small = [f"prompts.{key}" for key in ("steps=2", "resolution=16", "seeds=[0]", "count=1", "guidance=[3.0]")]
    typed = ["run=pretrained", f"output_dir={tmp_path}", *small]
    with pytest.raises(UserError, match="does not say which shards it was trained on: give data_root="):
        run_evaluation(command("evaluate", *typed))
    run_evaluation(command("evaluate", *typed, f"data_root={in_the_box.place.data}"))
    assert (tmp_path / "pretrained" / "shapes" / "evaluation" / "prompts.json").is_file()


def test_a_diffusion_starts_at_it_with_its_autoencoder(in_the_box: Published, fresh: Place, caplog):
    with caplog.at_level("INFO"):
        runs = run_training(fresh.compose("init_from=pretrained", STILL, "callbacks.pictures=null"))
    assert f"autoencoder: that of {in_the_box.file} is used, none is trained" in caplog.text
    assert not list(fresh.outputs.rglob("autoencoder/*/model.ckpt"))
    content = read_published(in_the_box.file)
    for name, value in weights(runs["diffusion"].model).items():
        torch.testing.assert_close(value, content["state_dict"][name], atol=1e-6, rtol=0, msg=name)
    label = content["fieldforge"]
    determining = runs["diffusion"].determining
    assert (determining["init_from"], determining["autoencoder"]) == (
        label["fingerprint"],
        label["autoencoder"]["fingerprint"],
    )
    again = torch.load(runs["diffusion"].model, weights_only=True)["fieldforge"]
    assert again["autoencoder"]["fingerprint"] == label["autoencoder"]["fingerprint"]
    assert list(make_plan(fresh.compose("init_from=pretrained")).plain()["stages"]) == ["latents", "diffusion"]


def test_a_run_of_ones_own_does_the_same_and_its_latents_are_there(published: Published, caplog):
    run = published.runs["diffusion"]
    with caplog.at_level("INFO"):
        done = run_training(published.place.compose(f"init_from={run.path}", STILL, "callbacks.pictures=null"))
    assert f"autoencoder: that of {run.model} is used, none is trained" in caplog.text
    assert "latents: encoded already" in caplog.text
    assert done["diffusion"].determining["autoencoder"] == published.runs["autoencoder"].fingerprint
    assert done["diffusion"].path != run.path


def test_an_autoencoder_starts_at_the_one_inside(in_the_box: Published, fresh: Place):
    still = "training.autoencoder.optimizer.lr=1e-12"
    run = run_training(fresh.compose("init_from=pretrained", "stages=[autoencoder]", still))["autoencoder"]
    inner = read_published(in_the_box.file)["fieldforge"]["autoencoder_state_dict"]
    for name, value in weights(run.model).items():
        if not name.startswith("latent_"):
            torch.testing.assert_close(value, inner[name], atol=1e-6, rtol=0, msg=name)


def test_latents_are_of_the_one_inside(in_the_box: Published, fresh: Place):
    run = run_training(fresh.compose("autoencoder_run=pretrained", "stages=[autoencoder,latents]"))["autoencoder"]
    assert (run.path / "latents").is_dir()
    assert run.path.is_relative_to(fresh.outputs)


NO_SHAPE = [f"~domain.{key}" for key in ("points", "surface_points", "cloud_points")]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["backbone.width=32"], "its weights are not those of this model"),
        (["domain=image", *NO_SHAPE], "autoencoder.field: .* choose an autoencoder of this domain"),
        (["stages=[autoencoder]", "autoencoder.encoder.channels=3"], "its weights are not those of this model"),
        (["autoencoder_run={autoencoder}"], "leave autoencoder_run= out"),
    ],
)
def test_another_design_is_refused(in_the_box: Published, fresh: Place, overrides: list[str], sentence: str):
    words = [override.format(autoencoder=in_the_box.runs["autoencoder"].path) for override in overrides]
    with pytest.raises(UserError, match=sentence):
        run_training(fresh.compose("init_from=pretrained", *words))


def test_a_mistake_of_the_command_is_a_sentence(tmp_path: Path):
    typed = [sys.executable, str(ROOT / "export.py"), "run=nowhere", "format=card", "output=it's", "command=a, b"]
    done = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "run=nowhere: there is no such run" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
