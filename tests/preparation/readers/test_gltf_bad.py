"""glTF files that cannot be used: one sentence each, at no cost of memory, and never a traceback."""

import json
import re
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.preparation.make import LIMITS
from tests.preparation.readers.gltf_files import INDICES, Gltf, box_scene, pack_glb, palette_scene, read

from fieldforge.readers.file_store import AssetError, FolderStore, Notes
from fieldforge.readers.load import load_mesh

Change = Callable[[dict[str, Any]], Any]


def reason(folder: Path, payload: bytes, name: str = "a.glb") -> str:
    with pytest.raises(AssetError) as caught:
        read(folder, payload, name=name)
    message = str(caught.value)
    assert "\n" not in message
    assert "report" not in message
    return message


def outcome(folder: Path, payload: bytes) -> str:
    """Why an asset is refused, "" if it is not."""
    try:
        read(folder, payload)
    except AssetError as error:
        return str(error)
    return ""


def circle(document: dict[str, Any]) -> None:
    document["nodes"] = [{"children": [1]}, {"mesh": 0, "children": [0]}]


def bomb(document: dict[str, Any]) -> None:
    """Each node hangs twice below the one before: 2⁴⁰ boxes."""
    document["nodes"] = [{"children": [k + 1] * 2} for k in range(40)] + [{"mesh": 0}]


def on_accessor(**changes: Any) -> Change:
    return lambda document: document["accessors"][0].update(changes)


DAMAGES: list[tuple[Change, str]] = [
    (lambda d: d.update(extensionsRequired=["ACME_secret"]), "ACME_secret"),
    (lambda d: d.update(extensionsRequired=["KHR_gaussian_splatting"]), "KHR_gaussian_splatting"),
    (lambda d: d["asset"].update(version="1.0"), "version 1.0"),
    (lambda d: d["asset"].update(version="2.5", minVersion="3.0"), "version 3.0"),
    (circle, "circle|below itself"),
    (lambda d: (circle(d), d.pop("scenes")), "circle|below itself"),
    (bomb, "shown more than 20,000 times"),
    (lambda d: d["scenes"][0].update(nodes=[7]), "number 7 of its 1 nodes"),
    (lambda d: d["scenes"][0].update(nodes=[-1]), "number -1"),
    (lambda d: d["scenes"][0].update(nodes="all"), "no list of indices"),
    (lambda d: d.update(scene=3), "number 3 of its 1 scenes"),
    (lambda d: d["scenes"][0].update(nodes=[]), "no faces"),
    (lambda d: d["nodes"][0].update(mesh=5), "number 5 of its 1 meshes"),
    (lambda d: d["nodes"][0].update(mesh=True), "number True"),
    (lambda d: d["nodes"][0].update(skin=0), "number 0 of its 0 skins"),
    (lambda d: d["nodes"][0].update(translation=[1, 2]), "translation is not 3 finite numbers"),
    (lambda d: d["nodes"][0].update(scale=["a", 1, 1]), "cannot be read"),
    (lambda d: d["nodes"][0].update(matrix=[1e999] * 16), "matrix is not 16 finite numbers"),
    (lambda d: d["nodes"][0].update(scale=[float("nan"), 1, 1]), "scale is not 3 finite"),
    (lambda d: d.update(nodes=[{"scale": [1e300] * 3, "children": [1]}, {"scale": [1e300] * 3, "mesh": 0}]), "finite"),
    (lambda d: d.update(nodes=[None]), r"nodes\[0\] is not an object"),
    (lambda d: d.update(meshes={"primitives": []}), "meshes"),
    (lambda d: d["meshes"][0].update(primitives=[]), "no faces"),
    (lambda d: d["meshes"][0].update(primitives=7), "cannot be read"),
    (lambda d: d["meshes"][0]["primitives"][0].update(attributes={}), "no faces"),
    (lambda d: d["meshes"][0]["primitives"][0].update(mode=9), "unknown mode 9"),
    (lambda d: d["meshes"][0]["primitives"][0].update(indices=8), "number 8 of its 2 accessors"),
    (lambda d: d["meshes"][0]["primitives"][0].update(indices=0), "SCALAR|type"),
    (lambda d: d["meshes"][0]["primitives"][0].update(material=0), "number 0 of its 0 materials"),
    (on_accessor(count=23), "element 23 of .*has 23"),
    (on_accessor(count=25), "reaches beyond"),
    (on_accessor(count="many"), "count = many"),
    (on_accessor(count=-5), "count = -5"),
    (on_accessor(byteOffset=4), "reaches beyond"),
    (on_accessor(componentType=5130), "5130"),
    (on_accessor(type="VEC2"), "VEC2"),
    (on_accessor(bufferView=9), "number 9 of its 2 bufferViews"),
    (on_accessor(sparse={"count": 1}), "sparse accessor"),
    (lambda d: d["bufferViews"][0].update(byteStride=4), "reaches beyond"),
    (lambda d: d["bufferViews"][0].update(byteLength=10**6), "ends at byte"),
    (lambda d: d["bufferViews"][0].update(buffer=1), "number 1 of its 1 buffers"),
    (lambda d: d["buffers"][0].update(byteLength=10**9), "of the 1,000,000,000 bytes"),
    (lambda d: d["buffers"][0].update(uri="lost.bin"), r"lost\.bin' is missing"),
    (lambda d: d["buffers"][0].update(uri="data:;base64,A"), "cannot be read"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_damaged_descriptions(tmp_path: Path, damage: Change, words: str):
    gltf = box_scene()
    gltf.json["buffers"] = [{"byteLength": len(gltf.binary)}]
    damage(gltf.json)
    message = reason(tmp_path, gltf.glb())
    assert re.search(words, message), message


GLB = box_scene().glb()
TEXT = box_scene().text()

CONTAINERS = [
    (b"glTF", "ends within its header"),
    (GLB[:40], "ends within its description"),
    (GLB[:-200], "the file is cut"),
    (pack_glb([(0x4E4F534A, TEXT)], version=1), "GLB of version 1"),
    (pack_glb([(0x004E4942, bytes(8))]), "no description"),
    (pack_glb([(0x4E4F534A, TEXT)]), "has no data"),
    (b'{"asset": ', "cannot be read"),
    (b"[]", "it is no object"),
    (b'{"asset": {"version": "2.0"}}', "no faces"),
    (b"[" * 200_000, "not a glTF file"),
    (b"\xff\xfe\xfd\xfc" * 9, "not a glTF file"),
    (b"<html>not found</html>", "web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
]


@pytest.mark.parametrize(("payload", "words"), CONTAINERS)
def test_damaged_containers(tmp_path: Path, payload: bytes, words: str):
    assert words in reason(tmp_path, payload)


def test_containers_that_are_only_unusual(tmp_path: Path):
    gltf = box_scene()
    text, binary = gltf.text(), bytes(gltf.binary)
    chunks = [(0x4E4F534A, text + b"\0\0\0"), (0x12345678, b"else"), (0x004E4942, binary + bytes(3)), (7, b"more")]
    assert len(read(tmp_path, pack_glb(chunks) + b"trailing bytes").faces) == 12
    gltf.json["buffers"] = [{"byteLength": len(binary) + 2}]  # counts a padding that is not there
    assert len(gltf.read(tmp_path).faces) == 12


@pytest.mark.parametrize("over", [1, 2, 3])
def test_padding_that_the_length_leaves_out_or_the_file_lacks(tmp_path: Path, over: int):
    gltf = box_scene()
    text, binary = gltf.text(), bytes(gltf.binary)
    text += b" " * ((over - len(text)) % 4)  # so many bytes over a multiple of four
    behind = struct.pack("<II", len(binary), 0x004E4942) + binary
    for announced, padding in ((len(text), b" " * (-over % 4)), (len(text) + -over % 4, b""), (len(text), b"")):
        payload = struct.pack("<4sIIII", b"glTF", 2, 0, announced, 0x4E4F534A) + text + padding + behind
        np.testing.assert_array_equal(read(tmp_path, payload).bounds, read(tmp_path, gltf.glb()).bounds)


def big_count(indexed: bool) -> Gltf:
    """A part of two thousand million vertices for which no data are there: zeros by the specification."""
    gltf = Gltf()
    primitive = gltf.primitive(indices=INDICES if indexed else None)
    primitive["attributes"]["POSITION"] = gltf.add("accessors", {"componentType": 5126, "count": 2**31, "type": "VEC3"})
    return gltf.scene(gltf.node(gltf.mesh(primitive)))


@pytest.mark.parametrize("indexed", [True, False])
def test_accessors_without_data_take_no_memory(tmp_path: Path, indexed: bool):
    tracemalloc.start()
    try:
        if indexed:
            assert len(big_count(True).read(tmp_path).vertices) == 24
        else:
            assert "announces 715,827,882 triangles" in reason(tmp_path, big_count(False).glb())
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_instances_without_data_take_no_memory(tmp_path: Path):
    for vertices in (24, 0):
        gltf = Gltf()
        count = gltf.add("accessors", {"componentType": 5126, "count": 2**31, "type": "VEC3"})
        mesh = gltf.mesh(gltf.primitive(indices=INDICES[: vertices and 36]))
        instancing = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": count}}}
        gltf.scene(gltf.node(mesh, extensions=instancing))
        assert ("announces" if vertices else "no faces") in reason(tmp_path, gltf.glb())


def test_instances_that_do_not_agree(tmp_path: Path):
    gltf = Gltf()
    attributes = {
        "TRANSLATION": gltf.accessor(np.zeros((2, 3), np.float32)),
        "SCALE": gltf.accessor(np.ones((3, 3), np.float32)),
    }
    instancing = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
    gltf.scene(gltf.node(gltf.mesh(gltf.primitive()), extensions=instancing))
    assert "differ in number" in reason(tmp_path, gltf.glb())


def test_the_number_of_triangles_is_known_before_a_vertex_is_read(tmp_path: Path):
    gltf = Gltf()
    strip, fan = (gltf.primitive(indices=INDICES[:5], mode=mode) for mode in (5, 6))
    mesh = gltf.mesh(gltf.primitive(), strip, fan, gltf.primitive(indices=None), gltf.primitive(mode=1))
    once = 12 + 3 + 3 + 8
    attributes = {"TRANSLATION": gltf.accessor(np.zeros((5, 3), np.float32))}
    gltf.scene(
        gltf.node(mesh, extensions={"EXT_mesh_gpu_instancing": {"attributes": attributes}}),
        gltf.node(children=[gltf.node(mesh)]),
    )
    gltf.node(mesh)  # outside of the scene
    limits = replace(LIMITS, max_triangles=once * 6 - 1)
    (tmp_path / "a.glb").write_bytes(gltf.glb())
    with pytest.raises(AssetError, match=f"announces {once * 6} triangles"):
        load_mesh(FolderStore(tmp_path, LIMITS.max_file_bytes), "a.glb", limits, Notes([]))
    assert len(gltf.read(tmp_path).faces) == once * 6


def test_random_damage_gives_a_mesh_or_one_sentence(tmp_path: Path):
    rng = np.random.default_rng(0)
    payload = palette_scene(COLOR_0=np.ones((24, 4), np.float32)).glb()
    for _ in range(200):
        damaged = bytearray(payload)
        for place in rng.integers(12, len(payload), rng.integers(1, 8)):
            damaged[place] = rng.integers(256)
        assert "\n" not in outcome(tmp_path, bytes(damaged))


VALUES = [None, True, -1, 0, 3, 1.5, 2**40, 1e308, "x", "", [], {}, [None], [1, 2, 3], [[0]], {"index": 0}, ["x"]]


def test_whatever_stands_in_a_description_gives_a_mesh_or_one_sentence(tmp_path: Path):
    """Values of it replaced by every kind of value, one try in eight."""
    rng = np.random.default_rng(0)
    gltf = palette_scene(JOINTS_0=np.zeros((24, 4), np.uint8), WEIGHTS_0=np.ones((24, 4), np.float32))
    gltf.json["samplers"] = [{"wrapS": 33071}]
    gltf.json["textures"][0]["sampler"] = 0
    gltf.json["skins"] = [{"joints": [0], "inverseBindMatrices": gltf.accessor(np.eye(4, dtype="f4").reshape(1, 16))}]
    gltf.json["nodes"][0].update(skin=0, scale=[1, 1, 1], weights=[1])
    gltf.json["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 0}]
    gltf.json["scene"] = 0
    chunk = (0x004E4942, bytes(gltf.binary))
    text = gltf.text()
    for path in _paths(json.loads(text)):
        for value in (value for value in VALUES if rng.random() < 1 / 8):
            document = json.loads(text)
            at = document
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = value
            payload = pack_glb([(0x4E4F534A, json.dumps(document).encode()), chunk])
            assert "\n" not in outcome(tmp_path, payload), (path, value)


def _paths(item: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else []
    return [path] * bool(path) + [place for key, value in below for place in _paths(value, (*path, key))]


def test_limits_of_files_hold_for_buffers_too(tmp_path: Path):
    (tmp_path / "big.bin").write_bytes(bytes(LIMITS.max_file_bytes + 1))
    gltf = box_scene()
    assert "the limit is" in reason(tmp_path, gltf.text(uri="big.bin"), "a.gltf")
