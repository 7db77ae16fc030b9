"""Where a glTF puts its surface: accessors of every kind, modes, nodes, instances, skins, morph weights."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from tests.preparation.readers.gltf_files import (
    BOX,
    HALF,
    INDICES,
    OPAQUE_SIDES,
    POSITIONS,
    UV,
    Gltf,
    box_scene,
    faces_outward,
    palette_scene,
    read,
    side_colors,
)

from fieldforge.errors import UserError
from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, Notes

EYE = np.eye(4, dtype=np.float32).reshape(1, 16)


def assert_box(mesh: Mesh, bounds: Any = BOX, tolerance: float = 1e-6):
    np.testing.assert_allclose(mesh.bounds, bounds, atol=tolerance)
    assert faces_outward(mesh)


def test_a_plain_scene_is_what_an_independent_reader_reads(tmp_path: Path):
    gltf = Gltf()
    mesh = gltf.mesh(gltf.primitive())
    child = gltf.node(mesh, rotation=[0.5, 0.5, 0.5, 0.5], scale=[1, 2, 3], translation=[3, 2, 1])
    matrix = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    gltf.scene(gltf.node(mesh, matrix=matrix.T.ravel().tolist(), children=[child]))
    result = gltf.read(tmp_path)
    expected = trimesh.load_mesh(tmp_path / "a.glb", process=False)
    assert len(result.faces) == len(expected.faces)
    np.testing.assert_allclose(
        np.sort(result.triangles.reshape(-1, 9), axis=0), np.sort(expected.triangles.reshape(-1, 9), axis=0), atol=1e-5
    )


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize("normalized", [True, False])
def test_quantised_positions(tmp_path: Path, dtype: type, normalized: bool):
    top = np.iinfo(dtype).max
    signed = np.iinfo(dtype).min < 0
    unit = POSITIONS / HALF if signed else (POSITIONS / HALF + 1) / 2  # -1…1 or 0…1
    stored = np.round(unit * top).astype(dtype)
    padded = np.zeros((24, 4), dtype)  # elements begin at multiples of four bytes
    padded[:, :3] = stored
    gltf = Gltf()
    view = gltf.view(padded.tobytes(), byteStride=padded.strides[0])
    primitive = gltf.primitive()
    primitive["attributes"]["POSITION"] = gltf.accessor(stored, bufferView=view, normalized=normalized)
    size = HALF if normalized else HALF / top
    place = {"scale": size.tolist()} if signed else {"scale": (2 * size).tolist(), "translation": (-HALF).tolist()}
    gltf.scene(gltf.node(gltf.mesh(primitive), **place))
    gltf.json["extensionsRequired"] = ["KHR_mesh_quantization"]
    assert_box(gltf.read(tmp_path), tolerance=1e-9)


@pytest.mark.parametrize("index_type", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("base", [True, False])
def test_sparse_accessors(tmp_path: Path, index_type: type, base: bool):
    lid = np.flatnonzero(POSITIONS[:, 1] > 0) if base else np.arange(24)
    raised = POSITIONS[lid] + np.float32([0, 1.5, 0])
    gltf = Gltf()
    kind = {1: 5121, 2: 5123, 4: 5125}[index_type().itemsize]
    sparse = {
        "count": len(lid),
        "indices": {"bufferView": gltf.view(lid.astype(index_type).tobytes()), "componentType": kind},
        "values": {"bufferView": gltf.view(raised.tobytes())},
    }
    primitive = gltf.primitive()
    extra = {} if base else {"bufferView": None}
    primitive["attributes"]["POSITION"] = gltf.accessor(POSITIONS, sparse=sparse, **extra)
    gltf.scene(gltf.node(gltf.mesh(primitive)))
    low = -0.5 if base else 1.0
    assert_box(gltf.read(tmp_path), [[-1, low, -1.5], [1, 2, 1.5]])


def test_interleaved_attributes_and_offsets(tmp_path: Path):
    gltf = Gltf()
    rows = np.concatenate([np.full((24, 2), 9, np.float32), POSITIONS], axis=1)
    view = gltf.view(bytes(8) + rows.tobytes(), byteStride=20)
    primitive = gltf.primitive()
    primitive["attributes"]["POSITION"] = gltf.accessor(POSITIONS, bufferView=view, byteOffset=16)
    assert_box(gltf.scene(gltf.node(gltf.mesh(primitive))).read(tmp_path))


STRIP = [0, 1, 3, 2]  # of one side


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize(("mode", "corners"), [(4, [0, 1, 2, 0, 2, 3]), (5, STRIP), (6, [0, 1, 2, 3])])
def test_every_way_to_draw_triangles(tmp_path: Path, mode: int, corners: list[int], indexed: bool):
    gltf = Gltf()
    sides = []
    for side in range(6):
        rows = np.array(corners, np.uint16) + side * 4
        sides.append(
            gltf.primitive(indices=rows, mode=mode) if indexed else gltf.primitive(POSITIONS[rows], None, mode=mode)
        )
    mesh = gltf.scene(gltf.node(gltf.mesh(*sides))).read(tmp_path)
    assert_box(mesh)
    assert len(mesh.faces) == 12
    assert mesh.face_areas.sum() == pytest.approx(22)


def test_what_is_left_of_a_last_triangle_is_dropped(tmp_path: Path):
    assert len(box_scene(indices=np.append(INDICES, [0, 1]).astype(np.uint16)).read(tmp_path).faces) == 12


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_points_and_lines_are_left_out_with_a_note(tmp_path: Path, mode: int):
    gltf, notes = Gltf(), Notes([])
    beside = gltf.primitive(POSITIONS * 9, None, mode=mode)
    assert_box(gltf.scene(gltf.node(gltf.mesh(gltf.primitive(), beside))).read(tmp_path, notes))
    assert notes.texts == ["the points and lines of the file are left out"]
    with pytest.raises(AssetError, match="only points and lines"):
        box_scene(mode=mode).read(tmp_path)


def test_a_part_without_positions_is_left_out_with_a_note(tmp_path: Path):
    gltf, notes = Gltf(), Notes([])
    assert_box(gltf.scene(gltf.node(gltf.mesh(gltf.primitive(), {"attributes": {}}))).read(tmp_path, notes))
    assert "no positions" in notes.texts[0]


def test_null_is_what_is_not_there(tmp_path: Path):
    gltf = box_scene()
    gltf.json["nodes"][0].update(skin=None, camera=None, matrix=None, children=None, weights=None, extensions=None)
    gltf.json["meshes"][0]["primitives"][0].update(material=None, targets=None, mode=None)
    gltf.json.update(animations=None, materials=None, extensionsRequired=None, scene=None)
    assert_box(gltf.read(tmp_path))


def test_meshes_below_cameras_lights_and_joints(tmp_path: Path):
    gltf = Gltf()
    mesh = gltf.mesh(gltf.primitive())
    leaf = gltf.node(mesh)
    camera = gltf.node(camera=0, translation=[7, 0, 0], children=[leaf])
    gltf.scene(gltf.node(extensions={"KHR_lights_punctual": {"light": 0}}, scale=[2, 2, 2], children=[camera]))
    assert_box(gltf.read(tmp_path), [[12, -1, -3], [16, 1, 3]])


def test_which_nodes_are_shown(tmp_path: Path):
    gltf = Gltf()
    mesh = gltf.mesh(gltf.primitive())
    first = gltf.node(mesh)
    second = gltf.node(mesh, translation=[10, 0, 0], children=[gltf.node(mesh, translation=[0, 5, 0])])
    all_of_them = [[-1, -0.5, -1.5], [11, 5.5, 1.5]]
    np.testing.assert_allclose(gltf.read(tmp_path).bounds, all_of_them)  # without scenes: all
    gltf.scene(first).scene(second)
    assert_box(gltf.read(tmp_path))  # without a default: the first
    gltf.json["scene"] = 1
    np.testing.assert_allclose(gltf.read(tmp_path).bounds, [[9, -0.5, -1.5], [11, 5.5, 1.5]])
    gltf.json["scenes"] = [{"nodes": [0, 1, 2]}]  # a writer that lists children as well
    gltf.json["scene"] = 0
    mesh = gltf.read(tmp_path)
    np.testing.assert_allclose(mesh.bounds, all_of_them)
    assert len(mesh.faces) == 36
    del gltf.json["nodes"], gltf.json["scenes"], gltf.json["scene"]
    assert_box(gltf.read(tmp_path))


def test_a_node_below_several_others_is_shown_below_each(tmp_path: Path):
    gltf = Gltf()
    shared = gltf.node(gltf.mesh(gltf.primitive()))
    gltf.scene(gltf.node(children=[shared]), gltf.node(translation=[5, 0, 0], children=[shared]))
    mesh = gltf.read(tmp_path)
    np.testing.assert_allclose(mesh.bounds, [[-1, -0.5, -1.5], [6, 0.5, 1.5]])
    assert len(mesh.faces) == 24


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int8])
def test_instances(tmp_path: Path, dtype: type):
    gltf = Gltf()
    half = np.sqrt(0.5)
    turns = np.array([[0, 0, 0, 1], [0, 0, half, half], [0, 0, 0, 1]])  # the second a quarter about z
    if dtype is not np.float32:
        turns = np.round(turns * np.iinfo(dtype).max)
    attributes = {
        "TRANSLATION": gltf.accessor(np.float32([[0, 0, 0], [5, 0, 0], [9, 0, 0]])),
        "ROTATION": gltf.accessor(turns.astype(dtype), normalized=dtype is not np.float32),
        "SCALE": gltf.accessor(np.float32([[1, 1, 1], [1, 1, 1], [-2, 1, 1]])),
        "_ID": gltf.accessor(np.float32([1, 2, 3])),
    }
    node = gltf.node(gltf.mesh(gltf.primitive()), extensions={"EXT_mesh_gpu_instancing": {"attributes": attributes}})
    gltf.scene(gltf.node(translation=[0, 0, 1], children=[node]))
    gltf.json["extensionsRequired"] = ["EXT_mesh_gpu_instancing"]
    mesh = gltf.read(tmp_path)
    parts = [mesh.select_faces(np.arange(12) + 12 * copy) for copy in range(3)]
    assert_box(parts[0], [[-1, -0.5, -0.5], [1, 0.5, 2.5]])
    assert_box(parts[1], [[4.5, -1, -0.5], [5.5, 1, 2.5]])
    assert_box(parts[2], [[7, -0.5, -0.5], [11, 0.5, 2.5]])  # mirrored, and not inside out


def test_a_skin_stands_where_its_joints_are(tmp_path: Path):
    gltf = Gltf()
    zeros = np.zeros((24, 4), np.uint8)
    weights = np.tile(np.float32([1, 0, 0, 0]), (24, 1))
    joints = [gltf.node(scale=[100] * 3, translation=[0, 3, 0])]
    mesh = gltf.mesh(gltf.primitive(POSITIONS / 100, JOINTS_0=zeros, WEIGHTS_0=weights))
    skin = gltf.add("skins", {"joints": joints, "inverseBindMatrices": gltf.accessor(EYE)})
    gltf.scene(joints[0], gltf.node(mesh, skin=skin, rotation=[0.7071068, 0, 0, 0.7071068], translation=[9, 9, 9]))
    assert_box(gltf.read(tmp_path), [[-1, 2.5, -1.5], [1, 3.5, 1.5]], 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_weights_blend_joints_of_both_sets(tmp_path: Path, dtype: type):
    gltf = Gltf()
    root = gltf.node(translation=[10, 0, 0])  # not among the joints, and above them
    low, high = gltf.node(), gltf.node(translation=[0, 4, 0])
    gltf.json["nodes"][root]["children"] = [low, high]
    upper = POSITIONS[:, 1] > 0
    bind = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    bind[:, 3, 0] = -3  # stored by columns: moves by -3 along x
    share = np.where(upper, 0.5, 1.0)[:, None] * [1.0, 0, 0, 0]
    rest = np.where(upper, 0.5, 0.0)[:, None] * [1.0, 0, 0, 0]
    if dtype is not np.float32:
        share, rest = (np.round(values * np.iinfo(dtype).max) for values in (share, rest))
    normalized = dtype is not np.float32
    primitive = gltf.primitive(
        JOINTS_0=np.tile(np.uint8([0, 9, 9, 9]), (24, 1)),  # anything may stand where the weight is 0
        WEIGHTS_0=gltf.accessor(share.astype(dtype), normalized=normalized),
        JOINTS_1=np.tile(np.uint16([1, 0, 0, 0]), (24, 1)),
        WEIGHTS_1=gltf.accessor(rest.astype(dtype), normalized=normalized),
    )
    skin = gltf.add("skins", {"joints": [low, high], "inverseBindMatrices": gltf.accessor(bind.reshape(2, 16))})
    gltf.scene(root, gltf.node(gltf.mesh(primitive), skin=skin))
    assert_box(gltf.read(tmp_path), [[6, -0.5, -1.5], [8, 2.5, 1.5]], 0.02)
    gltf.json["skins"][0]["joints"] = [low]
    with pytest.raises(AssetError, match="a joint that its skin of 1 lacks"):
        gltf.read(tmp_path)


def test_a_mirrored_joint_does_not_turn_its_skin_inside_out(tmp_path: Path):
    gltf = Gltf()
    joint = gltf.node(scale=[-1, 1, 1])
    primitive = gltf.primitive(
        JOINTS_0=np.zeros((24, 4), np.uint8), WEIGHTS_0=np.tile(np.float32([1, 0, 0, 0]), (24, 1))
    )
    gltf.scene(joint, gltf.node(gltf.mesh(primitive), skin=gltf.add("skins", {"joints": [joint]})))
    assert_box(gltf.read(tmp_path))


def test_morph_weights_of_the_node_go_before_those_of_the_mesh(tmp_path: Path):
    gltf = Gltf()
    up = np.tile(np.float32([0, 2, 0]), (24, 1))
    along = np.tile(np.int8([127, 0, 0]), (24, 1))
    sparse = {
        "count": 24,
        "indices": {"bufferView": gltf.view(np.arange(24, dtype=np.uint8).tobytes()), "componentType": 5121},
        "values": {"bufferView": gltf.view(up.tobytes())},
    }
    targets = [
        {"POSITION": gltf.accessor(up, sparse=sparse, bufferView=None)},
        {"POSITION": gltf.accessor(along, normalized=True)},
    ]
    mesh = gltf.mesh(gltf.primitive(targets=targets), weights=[0.5, 0])
    gltf.scene(gltf.node(mesh))
    assert_box(gltf.read(tmp_path), [[-1, 0.5, -1.5], [1, 1.5, 1.5]])
    gltf.json["nodes"][0]["weights"] = [0, 3]
    assert_box(gltf.read(tmp_path), [[2, -0.5, -1.5], [4, 0.5, 1.5]])


def test_only_what_triangles_use_is_read(tmp_path: Path):
    beside = np.concatenate([POSITIONS, np.full((4, 3), np.nan, np.float32)])
    mesh = box_scene(positions=beside).read(tmp_path)
    assert_box(mesh)
    assert len(mesh.vertices) == 24


def test_deep_hierarchies(tmp_path: Path):
    gltf = Gltf()
    below = gltf.node(gltf.mesh(gltf.primitive()))
    for _ in range(3000):
        below = gltf.node(translation=[1, 0, 0], children=[below])
    assert_box(gltf.scene(below).read(tmp_path), [[2999, -0.5, -1.5], [3001, 0.5, 1.5]])


@pytest.mark.parametrize("required", [True, False])
def test_draco(tmp_path: Path, required: bool):
    draco = pytest.importorskip("DracoPy")
    faces = INDICES.reshape(-1, 3).astype(np.uint32)
    payload = draco.encode(POSITIONS, faces, quantization_bits=14, preserve_order=True, tex_coord=UV.astype(float))
    ids = {attribute["attribute_type"]: attribute["unique_id"] for attribute in draco.decode(payload).attributes}
    gltf = palette_scene()
    compressed = {"bufferView": gltf.view(payload), "attributes": {"POSITION": ids[0], "TEXCOORD_0": ids[3]}}
    primitive = {
        "attributes": {
            "POSITION": gltf.accessor(POSITIONS, bufferView=None),
            "TEXCOORD_0": gltf.accessor(UV, bufferView=None),
        },
        "material": 0,
        "indices": gltf.accessor(INDICES, bufferView=None),
        "extensions": {"KHR_draco_mesh_compression": compressed},
    }
    plain = gltf.node(gltf.mesh(gltf.primitive()), translation=[4, 0, 0])
    gltf.json["scenes"] = [{"nodes": [gltf.node(gltf.mesh(primitive)), plain]}]
    if required:
        gltf.json["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    mesh = gltf.read(tmp_path)
    assert_box(mesh.select_faces(np.arange(12)), tolerance=1e-3)
    assert side_colors(mesh.select_faces(np.arange(12))) == OPAQUE_SIDES
    assert_box(mesh.select_faces(np.arange(12, 24)), [[3, -0.5, -1.5], [5, 0.5, 1.5]])
    gltf.json["bufferViews"][compressed["bufferView"]]["byteLength"] = 20
    with pytest.raises(AssetError, match="Draco"):
        gltf.read(tmp_path)


def test_without_the_decoder_the_machine_is_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    gltf = box_scene()
    compressed = {"bufferView": gltf.view(bytes(40)), "attributes": {"POSITION": 0}}
    gltf.json["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": compressed}
    gltf.json["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    with pytest.raises(UserError, match="DracoPy is not installed") as caught:
        gltf.read(tmp_path)
    assert not isinstance(caught.value, AssetError)


def test_draco_beside_uncompressed_data_that_need_no_decoder(tmp_path: Path):
    gltf = box_scene()
    compressed = {"bufferView": gltf.view(b"DRACO" + bytes(40)), "attributes": {"POSITION": 0}}
    gltf.json["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": compressed}
    assert_box(gltf.read(tmp_path))


def test_meshopt_with_and_without_data_that_stand_in_for_it(tmp_path: Path):
    gltf = box_scene()
    view = gltf.json["bufferViews"][0]
    packed = {"buffer": 0, "byteLength": 9, "byteStride": 12, "count": 24, "mode": "ATTRIBUTES"}
    view["extensions"] = {"EXT_meshopt_compression": packed}
    assert_box(gltf.read(tmp_path))
    view["buffer"] = 1  # only this one of the views is compressed
    placeholder = {"byteLength": 999, "extensions": {"EXT_meshopt_compression": {"fallback": True}}}
    gltf.json["buffers"] = [{"byteLength": len(gltf.binary)}, placeholder]
    with pytest.raises(AssetError, match="meshopt"):
        gltf.read(tmp_path)


def test_files_of_either_kind_are_known_by_what_they_hold(tmp_path: Path):
    assert_box(read(tmp_path, box_scene().glb(), name="a.gltf"))
    gltf = box_scene()
    (tmp_path / "a b.bin").write_bytes(gltf.binary)
    assert_box(read(tmp_path, b"\xef\xbb\xbf" + gltf.text(uri="A%20b.bin"), name="b.glb"))


@pytest.mark.parametrize("fallback_is_there", [True, False])
def test_compressed_data_with_their_uncompressed_fallback(tmp_path: Path, fallback_is_there: bool):
    gltf = box_scene()
    name = "EXT_meshopt_compression"
    for view in gltf.json["bufferViews"]:
        view["extensions"] = {
            name: {"buffer": 1, "byteLength": 16, "byteStride": 12, "mode": "ATTRIBUTES", "count": 24}
        }
    fallback = {"byteLength": len(gltf.binary), "uri": "a.fallback.bin", "extensions": {name: {"fallback": True}}}
    json_text = json.dumps({**gltf.json, "buffers": [fallback, {"byteLength": 16, "uri": "a.bin"}]})
    if fallback_is_there:
        (tmp_path / "a.fallback.bin").write_bytes(gltf.binary)
        assert_box(read(tmp_path, json_text.encode(), "a.gltf"))
    else:
        with pytest.raises(AssetError, match="meshopt"):
            read(tmp_path, json_text.encode(), "a.gltf")


@pytest.mark.parametrize("uri", ["b.bin?v=3", "data:application/gltf-buffer; base64, {plain}", "data:;base64,{safe}"])
def test_buffers_by_unusual_uris(tmp_path: Path, uri: str):
    gltf = box_scene()
    (tmp_path / "b.bin").write_bytes(gltf.binary)
    plain, safe = base64.b64encode(gltf.binary).decode(), base64.urlsafe_b64encode(gltf.binary).decode()
    buffer = {"byteLength": len(gltf.binary), "uri": uri.format(plain=plain, safe=safe.rstrip("="))}
    assert_box(read(tmp_path, json.dumps({**gltf.json, "buffers": [buffer]}).encode(), "a.gltf"))
