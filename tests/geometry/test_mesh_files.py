"""Finished meshes in files, read by other libraries and by our own readers. Warnings are errors."""

import io
import json
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image
from tests.geometry.finished import ball, mesh_psnr, psnr, rgb

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.finishing import finish
from fieldforge.geometry.glb_file import glb_bytes
from fieldforge.geometry.mesh import Mesh
from fieldforge.geometry.mesh_files import write_mesh
from fieldforge.geometry.sampling import sample_surface
from fieldforge.geometry.textured_mesh import TexturedMesh
from fieldforge.readers.file_store import FolderStore, Notes
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import load_mesh

pytestmark = pytest.mark.filterwarnings("error")
NAME = "000_a-red-ball_0"
LIMITS = Limits(max_triangles=10**6, max_file_mb=64, min_thickness=0.0)


@pytest.fixture(scope="module")
def plain() -> ColoredMesh:
    return finish(ball(), rgb, faces=3000)


@pytest.fixture(scope="module")
def textured() -> ColoredMesh:
    return finish(ball(), rgb, faces=600, texture=256)


def read_by_us(path) -> Mesh:
    notes = Notes([])
    mesh = load_mesh(FolderStore(path.parent, 2**26), path.name, LIMITS, notes)
    assert notes.texts == []
    return mesh


def document_of(glb: bytes) -> dict:
    return json.loads(glb[20 : 20 + struct.unpack("<I", glb[12:16])[0]])


@pytest.mark.parametrize("ending", ["glb", "obj"])
@pytest.mark.parametrize("kind", ["plain", "textured"])
def test_our_own_reader_finds_the_fields_colours_on_the_surface(ending, kind, request, tmp_path):
    mesh = request.getfixturevalue(kind)
    path = tmp_path / f"{NAME}.{ending}"
    write_mesh(mesh, path)
    read = read_by_us(path)
    np.testing.assert_allclose(read.triangles, mesh.vertices[mesh.faces], atol=1e-6)
    samples = sample_surface(read, 20_000, np.random.default_rng(0))
    assert psnr(samples.colors[:, :3], samples.points) > (45 if kind == "textured" else 38)
    np.testing.assert_allclose(samples.colors[:, 3], 1, atol=1e-5)


@pytest.mark.parametrize("ending", ["glb", "obj"])
def test_trimesh_reads_name_texture_and_a_closed_surface(ending, textured, tmp_path, caplog):
    write_mesh(textured, tmp_path / f"{NAME}.{ending}")
    scene = trimesh.load_scene(tmp_path / f"{NAME}.{ending}")
    assert list(scene.graph.nodes_geometry) == [NAME]
    [(name, read)] = scene.geometry.items()
    assert name == NAME
    material = read.visual.material
    picture = material.baseColorTexture if ending == "glb" else material.image
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), textured.texture)
    if ending == "glb":
        assert (material.metallicFactor, material.roughnessFactor, material.doubleSided) == (0, 0.8, False)
    else:
        np.testing.assert_array_equal(material.diffuse, 255)
    read.merge_vertices(merge_tex=True, merge_norm=True)
    assert read.is_watertight
    assert len(read.faces) == len(textured.faces)
    assert caplog.text == ""


def test_an_obj_has_material_and_texture_beside_it_and_shares_vertices_across_seams(textured, tmp_path):
    write_mesh(textured, tmp_path / f"{NAME}.obj")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{NAME}.obj", f"{NAME}.mtl", f"{NAME}_texture.png"}
    lines = (tmp_path / f"{NAME}.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == len(textured.vertices)
    assert f"o {NAME}" in lines


def test_a_glb_is_seen_from_both_sides_only_if_it_is_open(textured):
    assert "doubleSided" not in document_of(glb_bytes(textured))["materials"][0]
    opened = replace(textured, faces=textured.faces[1:], corner_uv=textured.corner_uv[1:])
    assert document_of(glb_bytes(opened))["materials"][0]["doubleSided"]


def test_a_ply_of_a_textured_mesh_has_the_colours_of_its_vertices(textured, tmp_path):
    write_mesh(textured, tmp_path / "a.ply")
    read = trimesh.load_mesh(tmp_path / "a.ply", process=False)
    np.testing.assert_allclose(read.visual.vertex_colors[:, :3], textured.colors * 255, atol=0.51)
    assert read.is_watertight


@pytest.mark.parametrize("kind", ["plain", "textured"])
def test_usdz_is_a_valid_stage_in_metres_with_the_fields_colours(kind, request, tmp_path):
    usd = pytest.importorskip("pxr.Usd", reason="needs usd-core: pip install '.[usd]'")
    from pxr import UsdGeom, UsdValidation

    mesh = request.getfixturevalue(kind)
    path = tmp_path / f"{NAME}.usdz"
    write_mesh(mesh, path)
    stage = usd.Stage.Open(str(path))
    assert (UsdGeom.GetStageMetersPerUnit(stage), UsdGeom.GetStageUpAxis(stage)) == (1.0, "Y")
    assert stage.GetDefaultPrim().GetDisplayName() == NAME
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [f"{error.GetName()}: {error.GetMessage()}" for error in errors] == []
    assert len(validators) > 10
    [shape] = [UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
    np.testing.assert_array_equal(np.array(shape.GetPointsAttr().Get()), mesh.vertices)
    faces = np.array(shape.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    np.testing.assert_array_equal(faces, mesh.faces)
    assert not shape.GetDoubleSidedAttr().Get()
    if isinstance(mesh, TexturedMesh):
        uv = np.array(UsdGeom.PrimvarsAPI(shape).GetPrimvar("st").Get(), np.float32).reshape(-1, 3, 2)
        with zipfile.ZipFile(path) as package:
            texture = np.asarray(Image.open(io.BytesIO(package.read("texture.png"))))
        assert mesh_psnr(replace(mesh, corner_uv=uv, texture=texture)) > 45
