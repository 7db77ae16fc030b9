"""Mesh files in other formats, by export.py meshes=."""

import numpy as np
import pytest
import trimesh
from hydra import compose, initialize_config_dir
from tests.geometry.finished import RADIUS, ball, psnr

from fieldforge.configuration.settings import read_settings
from fieldforge.domains import mesh_settings
from fieldforge.errors import UserError
from fieldforge.exchange import mesh_conversion
from fieldforge.exchange.settings import ExportSettings
from fieldforge.geometry.colored_mesh import ColoredMesh, is_closed
from fieldforge.geometry.mesh import Material, Mesh
from fieldforge.geometry.mesh_files import write_mesh
from fieldforge.geometry.mesh_surfaces import Surface
from fieldforge.geometry.sampling import sample_surface
from fieldforge.readers.file_store import FolderStore, Notes
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import load_mesh
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.export import run_export

LIMITS = Limits(max_triangles=10**6, max_file_mb=64, min_thickness=0.0)


def export(*overrides: str) -> None:
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        run_export(compose("export", list(overrides)))


def read(path):
    return load_mesh(FolderStore(path.parent, 2**26), path.name, LIMITS, Notes([]))


def opened(mesh: ColoredMesh) -> ColoredMesh:
    """The mesh without the faces of its top."""
    faces = mesh.faces[(mesh.vertices[mesh.faces][:, :, 1] < 0.9 * RADIUS).all(axis=1)]
    return ColoredMesh(mesh.vertices, faces, mesh.colors, mesh.normals)


def test_a_folder_of_samples_becomes_textured_meshes_of_the_same_names_and_sizes(tmp_path):
    samples, output = tmp_path / "samples", tmp_path / "out"
    samples.mkdir()
    for name in ("000_a-ball_0.glb", "000_a-ball_0.ply", "001_a-ball_1.ply"):
        write_mesh(ball(48), samples / name)
    wishes = ("mesh.faces=800", "mesh.texture=256", "mesh.formats=[glb,obj]")
    export(f"meshes={samples}", f"output={output}", *wishes)
    names = {
        f"{stem}{end}" for stem in ("000_a-ball_0", "001_a-ball_1") for end in (".glb", ".obj", ".mtl", "_texture.png")
    }
    assert {path.name for path in output.iterdir()} == names
    for path in (output / "000_a-ball_0.glb", output / "001_a-ball_1.obj"):
        mesh = read(path)
        assert 790 <= len(mesh.faces) <= 800
        np.testing.assert_allclose(np.abs(mesh.bounds), RADIUS, rtol=0.02)
        points = sample_surface(mesh, 10_000, np.random.default_rng(0))
        assert psnr(points.colors[:, :3], points.points) > 35


@pytest.mark.parametrize("wish", ["mesh.watertight=true", "mesh.watertight=false"])
def test_an_open_mesh_is_closed_where_that_is_asked_for(wish, tmp_path, monkeypatch):
    monkeypatch.setattr(mesh_conversion, "RESOLUTION", 48)  # of what takes seconds
    write_mesh(opened(ball()), tmp_path / "bowl.obj")
    wishes = ("mesh.formats=[ply]", "mesh.faces=500", wish)
    export(f"meshes={tmp_path / 'bowl.obj'}", f"output={tmp_path / 'out'}", *wishes)
    made = trimesh.load_mesh(tmp_path / "out" / "bowl.ply")
    assert 490 <= len(made.faces) <= 500
    assert made.is_watertight == (wish == "mesh.watertight=true")
    distance = np.linalg.norm(made.vertices[made.vertices[:, 1] < 0.8 * RADIUS], axis=1)
    np.testing.assert_allclose(distance, RADIUS, atol=0.03)


def test_seams_and_flat_faces_do_not_open_a_mesh():
    mesh = ball(12)
    apart = Surface(in_pieces(mesh)).welded()
    assert is_closed(apart.faces)
    assert len(apart.vertices) == len(mesh.vertices)
    np.testing.assert_allclose(np.sort(apart.colors, axis=0), np.sort(mesh.colors, axis=0), atol=0.01)


def in_pieces(mesh: ColoredMesh) -> Mesh:
    """The mesh with corners of its own for each face, and a face without area more."""
    faces = np.arange(3 * len(mesh.faces)).reshape(-1, 3)
    colors = np.concatenate([mesh.colors, np.ones((len(mesh.colors), 1), np.float32)], axis=1)[mesh.faces]
    flat, white = np.array([[0, 1, 1]]), np.ones((1, 3, 4), np.float32)
    vertices = mesh.vertices[mesh.faces].reshape(-1, 3).astype(np.float64)
    corners = np.concatenate([colors, white])
    return Mesh(vertices, np.concatenate([faces, flat]), (Material((1, 1, 1, 1)),), corner_colors=corners)


def test_what_cannot_be_converted_is_said_and_the_rest_goes_on(tmp_path, caplog):
    three = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nv 0 1 1\nf 1 2 3\nf 1 2 4\nf 1 2 5\n"
    (tmp_path / "fins.obj").write_text(three + "f 3 4 5\nf 1 3 5\n")
    (tmp_path / "sheet.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    write_mesh(ball(12), tmp_path / "ball.ply")
    export(f"meshes={tmp_path}", f"output={tmp_path / 'out'}", "mesh.formats=[glb]", "mesh.faces=4")
    assert "fins.obj: edges with more than two faces" in caplog.text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ball.glb", "sheet.glb"}
    with pytest.raises(UserError, match=r"sheet.obj: the surface encloses nothing .*: leave mesh.watertight out"):
        export(f"meshes={tmp_path / 'sheet.obj'}", f"output={tmp_path / 'out'}", "mesh.watertight=true")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], "nothing is to be written: give format=card or format=diffusers for a run, or meshes="),
        (["format=diffusers", "command=x"], "command=x has no effect without format=card"),
        (["format=diffusers", "mesh.faces=10"], "mesh.faces= has no effect without meshes="),
        (["meshes=a", "format=diffusers"], "format=diffusers has no effect on meshes=a"),
        (["meshes=a", "run=b"], "run=b has no effect on meshes=a"),
        (["meshes=''"], "meshes= is empty"),
        (["meshes=a", "mesh.faces=1"], "mesh.faces = 1 is not a whole number from 4"),
    ],
)
def test_settings_without_effect_are_sentences(overrides, sentence):
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        config = compose("export", ["output=out", *overrides])
    with pytest.raises(UserError, match=sentence):
        read_settings(config, ExportSettings)


def test_the_package_that_finds_nearest_points_is_named(monkeypatch):
    monkeypatch.setattr(mesh_settings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"meshes=a needs the package igl, .*pip install '.\[files\]'"):
        export("meshes=a", "output=b")


def test_meshes_are_neither_missed_nor_replaced(tmp_path):
    with pytest.raises(UserError, match="there is no mesh, give a file or a folder of obj, glb"):
        export(f"meshes={tmp_path}", f"output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
    write_mesh(ball(8), tmp_path / "ball.ply")
    with pytest.raises(UserError, match="is where the meshes lie, which would be replaced: give another folder"):
        export(f"meshes={tmp_path / 'ball.ply'}", f"output={tmp_path}")
