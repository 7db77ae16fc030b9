"""The files of shapes as `sample.py mesh.…` asks for them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from hydra import compose, initialize_config_dir
from tests.geometry.finished import surface_points

from fieldforge.asking.settings import SamplingSettings
from fieldforge.configuration.settings import read_settings
from fieldforge.domains import mesh_settings, shape_outputs
from fieldforge.domains.image import ImageDomain
from fieldforge.domains.mesh_settings import MeshSettings
from fieldforge.domains.shape import ShapeDomain
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.geometry.field_colors import query_colors
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain

PRETRAINED = Path(__file__).parents[2] / "pretrained" / "shapes" / "model.safetensors"


class Ball(Field):
    """A ball of radius params with waves of colour."""

    dimensions, heads = 3, SHAPE_HEADS
    param_shapes = {"radius": (1, 1)}

    def query(self, points: torch.Tensor, params: Params) -> Values:
        sdf = points.norm(dim=-1) - params["radius"][..., 0]
        return {"sdf": sdf, "density": (-sdf).relu(), "rgb": 0.5 + 0.5 * torch.sin(6 * points)}


@pytest.fixture
def still(monkeypatch):
    """No turntable: its frames take seconds."""
    monkeypatch.setattr(shape_outputs, "write_turntable", lambda mesh, path: path.touch())


def shape(domain: ShapeDomain) -> Shapes:
    return domain.outputs(Ball(), {"radius": torch.full((1, 1, 1), 0.5)}, resolution=16)[0]


def asked(*overrides: str) -> MeshSettings:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        settings = read_settings(compose("sample", list(overrides)), SamplingSettings).mesh
    assert isinstance(settings, MeshSettings)
    return settings


def test_nothing_is_asked_for_by_default():
    assert asked() == MeshSettings()
    assert asked().chosen == {}
    assert asked("mesh.faces=10", "mesh.formats=[obj]").chosen == {"faces": 10, "formats": ("obj",)}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("mesh.formats=[]", r"mesh.formats=\[\] must name each format once"),
        ("mesh.formats=[glb,glb]", r"mesh.formats=\[glb,glb\] must name each format once"),
        ("mesh.formats=[fbx]", "mesh.formats = .*fbx.* is not a list .*one of glb, ply, obj, usdz"),
        ("mesh.faces=3", "mesh.faces = 3 is not a whole number from 4 to"),
        ("mesh.texture=8", "mesh.texture = 8 is not a whole number from 16 to 8192"),
        ("mesh.watertight=1", "mesh.watertight = 1 is not true or false"),
        ("mesh.size_cm=0", "mesh.size_cm = 0 is not a number above 0"),
        ("+mesh.colour=red", "unknown config key mesh.colour"),
    ],
)
def test_a_wrong_value_has_its_sentence(override, sentence):
    with pytest.raises(UserError, match=sentence):
        asked(override)


def test_a_texture_of_ply_files_alone_has_no_effect():
    with pytest.raises(UserError, match=r"mesh\.texture=64 has no effect on PLY files: add glb"):
        asked("mesh.texture=64", "mesh.formats=[ply]")


def test_a_missing_package_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(mesh_settings.importlib.util, "find_spec", lambda name: None)
    for override, package, extra in (
        ("mesh.faces=10", "igl", "files"),
        ("mesh.texture=64", "xatlas", "files"),
        ("mesh.formats=[usdz]", "pxr", "usd"),
    ):
        with pytest.raises(UserError, match=rf"needs the package {package}, .*pip install '.\[{extra}\]'"):
            asked(override)
    assert asked().formats == ("glb", "ply"), "what needs no package is there without it"


def test_a_picture_has_no_faces():
    domain = ImageDomain()
    assert domain.with_files(MeshSettings()) is domain
    with pytest.raises(UserError, match=r"mesh\.faces=10 has no effect: a picture is no mesh, leave it out"):
        domain.with_files(MeshSettings(faces=10))


def test_files_are_those_that_are_asked_for(tmp_path, still):
    domain = ShapeDomain(resolution=16)
    settings = MeshSettings(formats=("glb", "obj"), faces=300, texture=64, size_cm=40)
    files = shape(domain.with_files(settings)).write(tmp_path, "one")
    assert files == {"glb": "one.glb", "obj": "one.obj", "turntable": "one.gif"}
    written = {"one.glb", "one.obj", "one.mtl", "one_texture.png", "one.gif"}
    assert {path.name for path in tmp_path.iterdir()} == written
    for name in ("one.glb", "one.obj"):
        mesh = trimesh.load_mesh(tmp_path / name)
        assert 290 <= len(mesh.faces) <= 300
        assert mesh.extents.max() == pytest.approx(0.4, rel=1e-5)
    assert shape(domain).write(tmp_path, "two").keys() == {"glb", "ply", "turntable"}, "another domain is as it was"


def test_gallery_and_picture_show_what_the_files_have():
    small = shape(ShapeDomain().with_files(MeshSettings(faces=50, texture=64)))
    media = small.media()
    assert media is not None
    assert b"image/png" in media[1]
    coarse, fine = (np.asarray(one.picture(64))[..., 3] > 128 for one in (small, shape(ShapeDomain())))
    assert 0 < (coarse != fine).sum() < 0.2 * fine.sum()


class Balls(Ball):
    """Eight of them."""

    def query(self, points: torch.Tensor, params: Params) -> Values:
        return super().query(points.abs() - 0.5, params)


def test_a_shape_that_needs_more_faces_is_written_with_a_warning(tmp_path, caplog, still):
    few = ShapeDomain(resolution=16).with_files(MeshSettings(formats=("ply",), faces=4))
    few.outputs(Balls(), {"radius": torch.full((1, 1, 1), 0.2)}).write(tmp_path, "one")
    assert "mesh.faces=4: this shape cannot do with fewer than 32 faces" in caplog.text
    assert len(trimesh.load_mesh(tmp_path / "one.ply").faces) == 32


def test_a_texture_of_the_repositorys_own_model_has_the_fields_colours():
    """A latent of noise decodes to pieces of furniture that no sampling is needed for."""
    _, autoencoder, label = load_diffusion(PRETRAINED)
    domain = load_domain(label, PRETRAINED).with_files(MeshSettings(faces=2000, texture=512))
    sizes = autoencoder.latent_shape
    noise = torch.randn(1, sizes.tokens, sizes.channels, generator=torch.Generator().manual_seed(0))
    output = domain.decode(autoencoder, noise, resolution=48)
    assert isinstance(output, Shapes)
    mesh = output.finished
    assert 1900 <= len(mesh.faces) <= 2000
    faces, weights, points = surface_points(mesh, 20_000)
    true = query_colors(output.rgb, points)
    error = np.mean((mesh.color_at(faces, weights) - true) ** 2)
    assert -10 * np.log10(error) > 35
