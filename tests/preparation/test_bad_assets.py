"""Whatever lies in a folder: one sentence for each asset that cannot be used, and the others are prepared."""

import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from tests.preparation.make import CUBE_OBJ, LIMITS, png, read_lines, record, tiny_settings, write_zip

from fieldforge.engines.engine import LocalEngine
from fieldforge.preparation.asset import clean_mesh
from fieldforge.preparation.folder import FolderSource
from fieldforge.preparation.pipeline import prepare
from fieldforge.readers import texture
from fieldforge.readers.file_store import AssetError, FolderStore, Notes, ZipStore, normal_member
from fieldforge.readers.limits import Limits
from fieldforge.readers.load import load_mesh

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"

BAD = {
    "empty.obj": (b"", "the file is empty"),
    "garbage.glb": (b"not a glb at all, but long enough to look at", "it is not a glTF file"),
    "garbage.ply": (b"ply\nformat ascii 1.0\nelement face x\nend_header\n", "cannot be read|no faces"),
    "half.glb": (struct.pack("<4sIIII", b"glTF", 2, 999, 500, 0x4E4F534A) + b'{"asset": ', "cannot be read"),
    "nan.obj": (CUBE_OBJ.replace("v 1 1 1", "v nan 1 1").encode(), "NaN or infinite"),
    "points.ply": (
        b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        b"end_header\n0 0 0\n",
        "no faces",
    ),
    "flat.obj": (TRIANGLE.encode(), "it is flat"),
    "line.obj": (b"v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", "no face has an area"),
    "many.obj": (TRIANGLE.encode() + b"f 1 2 3\n" * 100_001, "triangles and the limit is 100,000"),
    "huge.stl": (bytes(80) + struct.pack("<I", 100_001) + bytes(50 * 100_001), "100,001 triangles and the limit"),
    "fat.off": (b"OFF\n" + b" " * (17 * 2**20), "17 MB and the limit is 16 MB"),
    "text.stl": (b"hello", "cannot be read|no faces"),
}

NON_MANIFOLD = CUBE_OBJ + "v 0 3 0\nf 3 4 9\nf 7 8 9\nf 3 7 9\n"
LOST_TEXTURE = "mtllib a.mtl\n" + CUBE_OBJ.replace("f 1", "usemtl a\nf 1", 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a folder with every bad asset and three good ones."""
    folder, output = tmp_path_factory.mktemp("assets"), tmp_path_factory.mktemp("shards")
    for name, (payload, _) in BAD.items():
        (folder / name).write_bytes(payload)
    (folder / "good.obj").write_text(CUBE_OBJ)
    (folder / "non_manifold.obj").write_text(NON_MANIFOLD)
    (folder / "lost_texture.obj").write_text(LOST_TEXTURE)
    (folder / "a.mtl").write_text("newmtl a\nKd 1 0 0\nmap_Kd lost.png\n")
    bomb = b"v 0 0 0\n" + b" " * (12 * 2**20)
    members = {"bomb.obj": bomb, "../slip.obj": CUBE_OBJ.encode(), "fat.obj": b" " * (17 * 2**20)}
    write_zip(folder / "bad.zip", members)
    (folder / "broken.zip").write_bytes(b"PK\x03\x04")
    outside = tmp_path_factory.mktemp("outside") / "secret.obj"
    outside.write_text(CUBE_OBJ)
    os.symlink(outside, folder / "link.obj")
    source = FolderSource(str(folder), None, None, "CC0-1.0", "me", {})
    report = prepare(source, tiny_settings(heldout_share=0.0), 0, output, LocalEngine(2))
    assert report.assets == len(BAD) + 3 + 5
    assert report.manifest.extra["splits"] == {"train": 3}
    return output


EXPECTED = {name: reason for name, (_, reason) in BAD.items()} | {
    "bad.zip/bomb.obj": "zip bomb",
    "bad.zip/../slip.obj": "leads out of",
    "bad.zip/fat.obj": "17 MB and the limit is 16 MB",
    "broken.zip": "zip cannot be read",
    "link.obj": "leads out of",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_bad_asset_is_rejected_with_its_reason(prepared: Path, name: str):
    reasons = {line["id"]: line["reason"] for line in read_lines(prepared / "rejected.jsonl")}
    assert reasons.keys() == EXPECTED.keys()
    assert re.search(EXPECTED[name], reasons[name]), reasons[name]
    assert "\n" not in reasons[name]


def test_a_lost_texture_is_noted_and_the_asset_prepared(prepared: Path):
    (note,) = read_lines(prepared / "notes.jsonl")
    assert note["id"] == "lost_texture.obj"
    assert note["note"] == "the texture 'lost.png' is missing: its faces keep their plain colour"


def test_two_million_triangles_are_counted_and_not_parsed(tmp_path: Path):
    with (tmp_path / "huge.obj").open("wb") as file:
        file.write(TRIANGLE.encode() + b"f 1 2 3\n" * 2_000_000)
    limits = Limits(max_triangles=400_000, max_file_mb=64, min_thickness=0.005)
    with pytest.raises(AssetError, match=r"2,000,001 triangles.*preparation\.limits\.max_triangles"):
        load_mesh(FolderStore(tmp_path, limits.max_file_bytes), "huge.obj", limits, Notes([]))


def test_a_gltf_cannot_read_files_outside_of_its_folder(tmp_path: Path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(72))
    (tmp_path / "inside" / "a.gltf").write_text(
        '{"asset": {"version": "2.0"}, "buffers": [{"uri": "../secret.bin", "byteLength": 72}],'
        '"bufferViews": [{"buffer": 0, "byteLength": 36}], "accessors": [{"bufferView": 0, "componentType": 5126,'
        '"count": 3, "type": "VEC3"}], "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],'
        '"nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}], "scene": 0}'
    )
    with pytest.raises(AssetError, match=r"cannot be read .*secret\.bin"):
        load_mesh(FolderStore(tmp_path / "inside", 2**20), "a.gltf", LIMITS, Notes([]))


def test_names_stay_inside_of_their_root():
    assert normal_member("a\\b/../c/./d.obj") == "a/c/d.obj"
    for name in ("../a", "a/../../b", "/a", "C:/a", "\\\\server\\a"):
        with pytest.raises(AssetError, match="folder"):
            normal_member(name)


def test_a_damaged_member_of_a_zip(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", {"a.obj": CUBE_OBJ.encode() * 50})
    payload = bytearray(path.read_bytes())
    payload[60:90] = bytes(30)
    path.write_bytes(payload)
    with pytest.raises(AssetError, match="cannot be unpacked"):
        ZipStore(path, 2**20).read("a.obj")


def test_textures_are_limited_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sides = CUBE_OBJ.splitlines()
    faces = [f"usemtl side{number}\n{line}" for number, line in enumerate(sides[8:])]
    (tmp_path / "a.obj").write_text("\n".join(["mtllib a.mtl", *sides[:8], *faces]))
    (tmp_path / "a.mtl").write_text("".join(f"newmtl side{n}\nmap_Kd {n}.png\n" for n in range(6)))
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(np.full((8, 8, 3), 40 * number, np.uint8)))
    store, asset = FolderStore(tmp_path, 2**20), record("a.obj", tmp_path)
    monkeypatch.setattr(texture, "MAX_ASSET_PIXELS", 6 * 64)
    notes = Notes([])
    clean_mesh(asset, store, LIMITS, notes)
    assert not any("pixels" in note for note in notes.texts)
    monkeypatch.setattr(texture, "MAX_ASSET_PIXELS", 6 * 64 - 1)
    with pytest.raises(AssetError, match=r"its textures have more than .* megapixels together"):
        clean_mesh(asset, store, LIMITS, notes)
