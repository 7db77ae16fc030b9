import io
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh

from fieldforge.geometry.color import linear_to_srgb, srgb_to_linear
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.glb_file import glb_bytes
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.geometry.mesh_files import write_mesh


@pytest.fixture(scope="module")
def mesh() -> ColoredMesh:
    ellipsoid = extract_mesh(lambda p: (p * torch.tensor([1, 2, 1])).norm(dim=-1) - 0.8, lambda p: p.abs(), 24)
    turned = np.roll(ellipsoid.normals, 1, axis=1)  # so that a reader which makes up normals is found out
    return replace(ellipsoid, normals=turned)


def test_a_ply_read_by_another_library_is_the_mesh(mesh, tmp_path):
    write_mesh(mesh, tmp_path / "a.ply")
    read = trimesh.exchange.ply.load_ply(io.BytesIO((tmp_path / "a.ply").read_bytes()))
    np.testing.assert_array_equal(read["vertices"], mesh.vertices)
    np.testing.assert_array_equal(read["faces"], mesh.faces)
    np.testing.assert_array_equal(read["vertex_normals"], mesh.normals)
    np.testing.assert_allclose(read["vertex_colors"][:, :3], mesh.colors * 255, atol=0.51)


def test_a_glb_read_by_another_library_is_the_mesh_with_linear_colours(mesh, tmp_path):
    write_mesh(mesh, tmp_path / "a.glb")
    (read,) = trimesh.exchange.gltf.load_glb(io.BytesIO((tmp_path / "a.glb").read_bytes()))["geometry"].values()
    np.testing.assert_array_equal(read["vertices"], mesh.vertices)
    np.testing.assert_array_equal(read["faces"], mesh.faces)
    np.testing.assert_array_equal(read["vertex_normals"], mesh.normals)
    np.testing.assert_allclose(linear_to_srgb(read["visual"].vertex_attributes["color"]), mesh.colors, atol=0.51 / 255)
    assert read["visual"].material.metallicFactor == 0, "a metal would look black"


def test_the_glb_container_is_aligned_and_its_lengths_add_up(mesh):
    data = glb_bytes(mesh)
    magic, version, length = struct.unpack("<4sII", data[:12])
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, kind = struct.unpack("<I4s", data[12:20])
    assert kind == b"JSON"
    document = json.loads(data[20 : 20 + json_length])
    blob_length, kind = struct.unpack("<I4s", data[20 + json_length : 28 + json_length])
    assert kind == b"BIN\0"
    assert document["buffers"][0]["byteLength"] == blob_length == len(data) - 28 - json_length
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    np.testing.assert_allclose(document["accessors"][0]["max"], mesh.vertices.max(axis=0))


def test_many_vertices_need_wide_indices():
    points = np.zeros((2**16, 3), np.float32)
    faces = np.array([[0, 1, 2**16 - 1]])
    read = trimesh.load_mesh(
        io.BytesIO(glb_bytes(ColoredMesh(points, faces, points, points + 1))), "glb", process=False
    )
    np.testing.assert_array_equal(read.faces, faces)


@pytest.mark.parametrize("ending", ["glb", "ply"])
def test_an_empty_mesh_gives_a_file_that_loads_as_nothing(ending, tmp_path):
    path = tmp_path / f"empty.{ending}"
    write_mesh(ColoredMesh.empty(), path)
    scene = trimesh.load_scene(path)
    assert sum(len(part.faces) for part in scene.geometry.values() if hasattr(part, "faces")) == 0
    assert list(tmp_path.iterdir()) == [path], "no partial file is left"


def test_colour_curves_meet_the_standard_values_and_undo_each_other():
    np.testing.assert_allclose(srgb_to_linear(np.array([0, 0.5, 1.0, 10 / 255])), [0, 0.21404, 1, 0.0030353], atol=1e-5)
    ramp = np.linspace(0, 1, 256)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(ramp)), ramp, atol=1e-7)
