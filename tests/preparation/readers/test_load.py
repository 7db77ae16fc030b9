"""Formats other than OBJ: geometry, textures and colours arrive as they were written."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from tests.preparation.make import LIMITS

from fieldforge.geometry.color import linear_to_srgb
from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, FileStore, FolderStore, Notes, ZipStore
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import load_mesh

COLORS = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [128, 128, 128, 255]], np.uint8)


def tetrahedron() -> trimesh.Trimesh:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64)
    return trimesh.Trimesh(corners, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], process=False)


def load(folder: Path, name: str, notes: Notes | None = None) -> Mesh:
    return load_mesh(FolderStore(folder, LIMITS.max_file_bytes), name, LIMITS, notes or Notes([]))


def corner_colors(mesh: Mesh) -> dict[tuple[float, ...], tuple[int, ...]]:
    """Colour 0…255 by position over all corners of the mesh."""
    result = {}
    for face in range(len(mesh.faces)):
        colors = mesh.color_at(np.full(3, face), np.eye(3))
        for corner, color in zip(mesh.triangles[face], colors, strict=True):
            result[tuple(np.round(corner, 4).tolist())] = tuple(np.round(color * 255).astype(int).tolist())
    return result


@pytest.mark.parametrize("ending", ["stl", "off", "ply", "glb", "obj"])
def test_geometry_of_every_format(tmp_path: Path, ending: str):
    tetrahedron().export(tmp_path / f"a.{ending}")
    mesh = load(tmp_path, f"a.{ending}")
    assert len(mesh.faces) == 4
    assert mesh.face_areas.sum() == pytest.approx(1.5 + np.sqrt(3) / 2, rel=1e-6)
    np.testing.assert_allclose(mesh.bounds, [[0, 0, 0], [1, 1, 1]], atol=1e-6)
    outward = np.einsum("fd,fd->f", mesh.face_normals, mesh.triangles.mean(axis=1) - 0.25)
    assert (outward > 0).all()


def test_ply_vertex_colours_are_exact(tmp_path: Path):
    shape = tetrahedron()
    shape.visual.vertex_colors = COLORS
    shape.export(tmp_path / "a.ply")
    result = corner_colors(load(tmp_path, "a.ply"))
    assert result == {
        tuple(corner.tolist()): tuple(color.tolist()) for corner, color in zip(shape.vertices, COLORS, strict=True)
    }


def test_gltf_vertex_colours_are_linear_and_become_srgb(tmp_path: Path):
    shape = tetrahedron()
    shape.visual.vertex_colors = COLORS
    shape.export(tmp_path / "a.glb")
    result = corner_colors(load(tmp_path, "a.glb"))
    assert result[(1.0, 0.0, 0.0)] == (0, 255, 0, 255)
    assert result[(0.0, 0.0, 1.0)][:3] == (188, 188, 188)  # 0.5 linear is 0.735 in sRGB


def textured(material: trimesh.visual.material.Material) -> trimesh.Trimesh:
    shape = tetrahedron()
    shape.visual = trimesh.visual.TextureVisuals(uv=np.full((4, 2), 0.25), material=material)
    return shape


def picture() -> Image.Image:
    """Lower left quarter green, the rest red."""
    pixels = np.tile(np.uint8([255, 0, 0]), (4, 4, 1))
    pixels[2:, :2] = [0, 255, 0]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("ending", ["glb", "gltf"])
def test_gltf_texture_times_factor(tmp_path: Path, ending: str):
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=picture(), baseColorFactor=[1.0, 0.5, 1.0, 0.5], alphaMode="BLEND"
    )
    if ending == "glb":
        textured(material).export(tmp_path / "a.glb")
    else:  # external buffers and pictures
        for name, payload in trimesh.exchange.gltf.export_gltf(trimesh.Scene(textured(material))).items():
            (tmp_path / name).write_bytes(payload)
        (tmp_path / "model.gltf").rename(tmp_path / "a.gltf")
    colors = set(corner_colors(load(tmp_path, f"a.{ending}")).values())
    half = round(float(linear_to_srgb(np.array([128 / 255]))[0]) * 255)
    assert colors == {(0, half, 0, 128)}


def test_an_opaque_material_ignores_alpha(tmp_path: Path):
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[1.0, 0.0, 0.0, 0.1], alphaMode="OPAQUE")
    textured(material).export(tmp_path / "a.glb")
    assert set(corner_colors(load(tmp_path, "a.glb")).values()) == {(255, 0, 0, 255)}


def test_parts_stand_where_the_scene_puts_them(tmp_path: Path):
    scene = trimesh.Scene()
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirrored[:3, 3] = [5, 0, 0]
    scene.add_geometry(tetrahedron(), node_name="one")
    scene.add_geometry(tetrahedron(), node_name="two", transform=mirrored)
    scene.export(tmp_path / "a.glb")
    mesh = load(tmp_path, "a.glb")
    np.testing.assert_allclose(mesh.bounds, [[0, 0, 0], [5, 1, 1]], atol=1e-6)
    centres = np.where(mesh.triangles.mean(axis=1)[:, :1] < 2, 0.25, [[4.75, 0.25, 0.25]])
    assert (np.einsum("fd,fd->f", mesh.face_normals, mesh.triangles.mean(axis=1) - centres) > 0).all()


@pytest.mark.parametrize("ending", ["stl", "off", "ply", "glb", "obj"])
def test_the_number_of_triangles_is_known_before_parsing(tmp_path: Path, ending: str):
    trimesh.creation.icosphere(2).export(tmp_path / f"a.{ending}")
    limits = Limits(max_triangles=319, max_file_mb=16, min_thickness=0.005)
    with pytest.raises(AssetError, match="announces 320 triangles and the limit is 319"):
        load_mesh(FolderStore(tmp_path, LIMITS.max_file_bytes), f"a.{ending}", limits, Notes([]))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "payload", "words"),
    [
        ("a.glb", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
        ("a.stl", b"\n<!DOCTYPE html><html>" + bytes(200), "web page"),
        ("a.obj", b"\x1f\x8b\x08\0" + bytes(20), "gzip"),
        ("a.ply", b"PK\x03\x04" + bytes(20), "zip"),
        ("a.off", b"Kaydara FBX Binary  \0" + bytes(20), "FBX"),
        ("a.stl", b"\x89PNG\r\n\x1a\n" + bytes(126), "PNG"),
        ("a.obj", b"glTF\2\0\0\0" + bytes(20), "name it .glb"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, name: str, payload: bytes, words: str, zipped: bool):
    (tmp_path / name).write_bytes(payload)
    store: FileStore = FolderStore(tmp_path, 2**20)
    if zipped:
        with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(tmp_path / name, name)
        store = ZipStore(tmp_path / "z.zip", 2**20)
    with pytest.raises(AssetError, match=words):
        load_mesh(store, name, LIMITS, Notes([]))
