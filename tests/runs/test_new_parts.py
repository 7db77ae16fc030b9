"""A sampler, a field and a source of conditions of one's own: a few files beside the package, which is as it was."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tests.diffusion.test_documents import block
from tests.runs.conftest import ROOT, Place

from fieldforge.asking.jobs import jobs_of
from fieldforge.asking.requests import ways
from fieldforge.configuration.trust import trusting
from fieldforge.domains import shape_outputs
from fieldforge.domains.shape import ShapeDomain
from fieldforge.errors import UserError
from fieldforge.runs import sample
from fieldforge.runs.command_line import with_search_path
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.sample import run_sampling
from fieldforge.runs.train import run_training
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.directory import StageDirectory

SAMPLER = {
    "midpoint.py": block("python"),
    "configs/sampler/midpoint.yaml": block("yaml").replace("fieldforge.diffusion.solvers", "spare"),
}
FIELD = {
    "balls.py": """
from fieldforge.fields.base import Field
from fieldforge.fields.density import LaplaceDensity


class Balls(Field):
    dimensions = 3
    heads = {"sdf": 0, "density": 0, "rgb": 3}

    def __init__(self, count: int):
        super().__init__()
        self.count, self.density = count, LaplaceDensity()

    @property
    def param_shapes(self):
        return {"balls": (self.count, 7)}

    def query(self, points, params):
        centre, radius, color = params["balls"][:, None].split([3, 1, 3], dim=-1)  # (B, 1, K, ·)
        distances = (points[:, :, None] - centre).norm(dim=-1) - radius.squeeze(-1).sigmoid()  # (B, N, K)
        nearest = (-20 * distances).softmax(-1)
        sdf = (nearest * distances).sum(-1)
        return {"sdf": sdf, "density": self.density(sdf), "rgb": (nearest[..., None] * color.sigmoid()).sum(-2)}
""",
    "configs/autoencoder/balls.yaml": """
defaults: [base, _self_]
encoder:
  _target_: fieldforge.autoencoder.encoders.PerceiverEncoder
  tokens: 8
  width: 16
  heads: 2
  layers: 1
  channels: 4
  degrees: 2
field: {_target_: spare.balls.Balls, count: 8}
decoder:
  _target_: fieldforge.autoencoder.decoder.Decoder
  _partial_: true
  width: 16
  heads: 2
  layers: 1
  projection: {_target_: fieldforge.autoencoder.projection.PerRowProjection, _partial_: true}
""",
}
SOURCE = {
    "size.py": """
import numpy as np
import torch

from fieldforge.conditioning import Features, Source


class SizeSource(Source):
    def __init__(self, width: int, dropout: float = 0.1):
        super().__init__("size", width, 1, None, dropout, normalize=False)

    def embed(self, values, device):
        return Features(vector=torch.as_tensor(np.asarray(values), device=device).float().reshape(-1, 1))

    def fingerprint(self):
        return {"kind": "size"}


class Size:
    def __call__(self, sample, generator):
        return {"size": np.abs(sample["surface_points.npy"]).max().astype(np.float32)}
""",
    "configs/conditioner/parts/size.yaml": """
# @package _global_
conditioner:
  parts:
    size: {_target_: spare.size.SizeSource, _partial_: true}
latent_data:
  transforms:
    size:
      _target_: fieldforge.conditioning.transforms.FromSample
      root: ${data.root}
      transform: {_target_: spare.size.Size}
""",
}


@pytest.fixture(scope="module")
def spare(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, StageDirectory]]:
    """A package of that name, importable here, and a model of its field that its source steers."""
    folder = tmp_path_factory.mktemp("beside")
    for name, text in (SAMPLER | FIELD | SOURCE).items():
        (folder / "spare" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "spare" / name).write_text(text.lstrip("\n"))
    place = Place(balls, folder)
    with pytest.MonkeyPatch.context() as patch, trusting({"spare"}):
        patch.syspath_prepend(folder)
        parts = ["autoencoder=balls", "conditioner/parts=[class,size,proportions,points]"]
        parts += ["conditioner.parts.points.count=16"]
        yield place, run_training(composed(place, "train", *place.overrides(*parts)))["diffusion"]


def composed(place: Place, name: str, *overrides: str) -> DictConfig:
    search = f"hydra.searchpath=[file://{CONFIGS},file://{ROOT}/tests/configs,file://{place.outputs}/spare/configs]"
    folder = CONFIGS if name == "train" else CONFIGS / "commands"
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, [search, *overrides])


def test_a_sampler_is_two_files(spare, monkeypatch):
    monkeypatch.setattr(shape_outputs, "write_turntable", lambda *_: None)  # it takes most of the time, and is others'
    place, _ = spare
    words = ["class=red", "n=1", "resolution=8", "sampler=midpoint", "steps=2"]
    run_sampling(composed(place, "sample", *words, f"output_dir={place.outputs}", f"output={place.outputs}/samples"))
    [drawn] = json.loads((place.outputs / "samples/samples.json").read_text())["samples"]
    assert (drawn["class"], drawn["sampler"]) == ("red", "Midpoint")
    assert len(SAMPLER) <= 2


def test_a_field_is_two_files(spare):
    autoencoder, _ = load_autoencoder(spare[1].model)
    assert type(autoencoder.field).__name__ == "Balls"
    shapes = ShapeDomain().decode(autoencoder, torch.zeros(1, *autoencoder.latent_shape[:2]), 16)
    assert len(shapes.mesh(0).faces)
    assert len(FIELD) <= 2


def test_a_source_that_reads_something_new_is_two_files(spare):
    generator = load_diffusion(spare[1].model)[0]
    assert generator.keys == {"class", "size", "proportions", "points"}
    conditioner = generator.conditioner
    asked = {"class": ["red"]}
    small, large = (conditioner(conditioner.embed({**asked, "size": [size]}, ["class", "size"])) for size in (0.3, 0.7))
    assert not torch.equal(small.vector, large.vector)
    assert list(spare[1].pictures.glob("step_*.png")), "pictures of a training are asked for by it too"
    assert len(SOURCE) <= 3


def test_numbers_and_points_are_asked_for_on_the_command_line(spare, tmp_path, monkeypatch):
    latents, requests = [], []
    monkeypatch.setattr(sample, "draw_all", lambda jobs, drawing, *_: latents.append(drawing(jobs)))
    monkeypatch.setattr(sample, "jobs_of", lambda _, asked: requests.append(asked) or jobs_of(_, asked))
    place, _ = spare
    write_points(tmp_path / "part.ply", np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3)))
    words = ["class=red", "n=1", "steps=2", "guidance.scale=2", f"output_dir={place.outputs}"]
    for asked in ([], ["proportions=[2,4,1]"], [f"points={tmp_path / 'part.ply'}"]):
        run_sampling(composed(place, "sample", *words, *asked, f"output={tmp_path / 'out'}"))
    assert not torch.equal(latents[0], latents[1])
    assert not torch.equal(latents[0], latents[2])
    np.testing.assert_allclose(requests[1][0].values["proportions"], [0.5, 1, 0.25])
    assert requests[2][0].values["points"].shape == (40, 3)


def write_points(path: Path, points: np.ndarray) -> None:
    rows = "\n".join(" ".join(f"{value:.5f}" for value in point) for point in points)
    axes = "\n".join(f"property float {axis}" for axis in "xyz")
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n{axes}\nend_header\n{rows}\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["symmetry=[1,0,0]"], "symmetry= is given, but this model was not trained with it: it understands class="),
        (["proportions=[1,0,1]"], "proportions"),
        (["points={place}/none.ply"], "points=.*none.ply: there is no such file"),
        (["points={place}/far.ply"], "lie outside of the box of the model"),
        (["points={place}/few.ply"], "has 3 points, too few"),
        (["points={place}/no.ply"], "points=.*no.ply: the PLY file cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(spare, tmp_path, words, sentence):
    write_points(tmp_path / "far.ply", np.full((9, 3), 4.0))
    write_points(tmp_path / "few.ply", np.zeros((3, 3)))
    (tmp_path / "no.ply").write_text("solid")
    place, _ = spare
    typed = [word.format(place=tmp_path) for word in words]
    with pytest.raises(UserError, match=sentence):
        run_sampling(composed(place, "sample", *typed, f"output_dir={place.outputs}", f"output={tmp_path / 'out'}"))
    assert not (tmp_path / "out").exists()


def test_folders_of_choices_that_are_typed_stand_beside_those_of_the_command(tmp_path):
    typed = ["--cfg", "job", "n=1", "hydra.searchpath=[file:///mine]"]
    assert with_search_path(typed, tmp_path) == [
        *typed[:2], f"hydra.searchpath=[\"file://{tmp_path}\",file:///mine]", "n=1"
    ]  # fmt: skip


def test_what_sample_has_no_option_for_is_not_offered():
    assert ways({"class", "size"}) == "class="
    assert ways({"class", "points"}) == "class= or points="
