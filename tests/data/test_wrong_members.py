"""Members that are wrong although every checksum is right: the shard, the sample and the member are named."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.make import latent_sample, sphere_sample

from fieldforge.conditioning.prior import EmbeddingSpace, VectorLatent
from fieldforge.data.codec import encode_json, encode_npy, encode_png
from fieldforge.data.heldout import HeldOut
from fieldforge.data.latent_schema import EMBEDDING, LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.order import Mixing
from fieldforge.data.schema import Schema
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.shape_transforms import Distances, Surface, ViewRays
from fieldforge.data.shards import open_shards
from fieldforge.data.stream import SampleStream
from fieldforge.data.transforms import Labels, Latent, Meta, Transform
from fieldforge.data.writer import ShardWriter
from fieldforge.errors import UserError
from fieldforge.storage.store import BadSampleError

Members = dict[str, bytes]
STAGES: list[Transform] = [Meta(), Labels(), Surface(8), Distances(8, 8), ViewRays(6, 3)]


def sound(key: str) -> dict[str, Any]:
    return sphere_sample(key, points=16, pixels=4)


def array(suffix: str, change: Callable[[np.ndarray], Any]) -> tuple[str, bytes]:
    """An array of the sound sample, changed in place or replaced."""
    values = np.array(sound("bad")[suffix])
    changed = change(values)
    return suffix, encode_npy(values if changed is None else changed)


def meta(**changes: Any) -> tuple[str, bytes]:
    values = {**sound("bad")["meta.json"], **changes}
    return "meta.json", json.dumps({key: value for key, value in values.items() if value != "gone"}).encode()


def put(value: Any, *place: Any) -> Callable[[np.ndarray], None]:
    return lambda values: values.__setitem__(place or ..., value)


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(64)


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 16))) + chunk(b"IEND", b"")


VIEW, DEPTH = sound("bad")["view_001.png"], sound("bad")["depth_001.png"]
GONE = b"gone"
DAMAGES: dict[str, tuple[str, bytes]] = {
    **{f"no {suffix}": (suffix, GONE) for suffix in sorted(sound("bad"))},
    **{f"no rows in {suffix}": array(suffix, lambda values: values[:0]) for suffix in sound("bad") if "npy" in suffix},
    **{f"empty {suffix}": (suffix, b"") for suffix in ("meta.json", "near_sdf.npy", "view_001.png")},
    **{
        f"{value} in {suffix}": array(suffix, put(value, 3))
        for suffix in ("surface_points.npy", "near_points.npy", "near_sdf.npy", "volume_points.npy", "volume_sdf.npy")
        for value in (np.nan, np.inf, -1000)
    },
    "floats of 32 bits": array("near_sdf.npy", lambda values: values.astype(np.float32)),
    "floats of 64 bits": array("surface_points.npy", lambda values: values.astype(np.float64)),
    "whole numbers": array("volume_points.npy", lambda values: values.astype(np.int16)),
    "complex numbers": array("volume_points.npy", lambda values: values.astype(np.complex64)),
    "texts": array("volume_points.npy", lambda values: values.astype(str)),
    "records": array("near_sdf.npy", lambda values: values.view([("a", "<f2")])),
    "big-endian": ("near_sdf.npy", header("{'descr': '>f2', 'fortran_order': False, 'shape': (16,)}")),
    "points in two dimensions": array("surface_points.npy", lambda values: values[:, :2]),
    "points in a line": array("near_points.npy", lambda values: values.ravel()),
    "a distance too few": array("near_sdf.npy", lambda values: values[:-1]),
    "distances in a column": array("volume_sdf.npy", lambda values: values[:, None]),
    "colours too few": array("surface_colors.npy", lambda values: values[:-1]),
    "colours with alpha": array("surface_colors.npy", lambda values: np.tile(values, 2)[:, :4]),
    "exposed of another length": array("surface_exposed.npy", lambda values: values[:5]),
    "all normals of length 0": array("surface_normals.npy", put(0)),
    "a normal of length 0": array("surface_normals.npy", put(0, 5)),
    "a camera that is no number": array("cameras.npy", put(np.nan, 1)),
    "an infinite camera": array("cameras.npy", put(np.inf, 1, 0, 3)),
    "a camera of zeros": array("cameras.npy", put(0, 1)),
    "a camera that shears": array("cameras.npy", put(2, 1, 0, 0)),
    "a mirrored camera": array("cameras.npy", lambda values: values * np.array([-1, 1, 1, 1], np.float32)),
    "a projective camera": array("cameras.npy", put(0.5, 1, 3, 0)),
    "a camera too many": array("cameras.npy", lambda values: np.concatenate([values, values[:1]])),
    "cameras of 3 x 4": array("cameras.npy", lambda values: values[:, :3]),
    "a view without alpha": ("view_001.png", encode_png(VIEW[..., :3])),
    "a grey view": ("view_001.png", encode_png(VIEW[..., 0])),
    "a view with a palette": ("view_001.png", png(Image.fromarray(VIEW).convert("P"))),
    "a view of another size": ("view_001.png", encode_png(VIEW[:2])),
    "a view in JPEG": ("view_001.png", b"\xff\xd8\xff\xe0" + bytes(40)),
    "a view that is cut": ("view_001.png", encode_png(VIEW)[:50]),
    "a depth of 8 bits": ("depth_001.png", encode_png(DEPTH.astype(np.uint8))),
    "a depth of another size": ("depth_001.png", encode_png(DEPTH[:, :2].copy())),
    "a picture bomb": ("view_001.png", bomb(60_000, 60_000)),
    "a smaller picture bomb": ("view_001.png", bomb(12_000, 12_000)),
    "a picture without pixels": ("view_001.png", bomb(0, 0)),
    "deep JSON": ("meta.json", b"[" * 200_000),
    "deeper JSON": ("meta.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "JSON that is a list": ("meta.json", b"[]"),
    "JSON that is null": ("meta.json", b"null"),
    "JSON that is cut": ("meta.json", b'{"id": "a", '),
    "JSON in another encoding": ("meta.json", "{}".encode("utf-16")),
    "a deep header": ("near_sdf.npy", header("(" * 5000)),
    "a header that is no dict": ("near_sdf.npy", header("[1, 2]")),
    "a negative shape": ("near_sdf.npy", header("{'descr': '<f2', 'fortran_order': False, 'shape': (-1,)}")),
    "a shape that is too large": ("near_sdf.npy", header("{'descr': '<f2', 'fortran_order': False, 'shape': (9**9,)}")),
    "a shape that overflows": ("near_sdf.npy", header("{'descr': '<f2', 'fortran_order': False, 'shape': (2**62, 4)}")),
    "an archive": ("near_sdf.npy", b"PK\x03\x04" + bytes(60)),
    "no class": meta(**{"class": "gone"}),
    "a class that is a number": meta(**{"class": 3}),
    "no captions": meta(captions=[]),
    "captions that are a text": meta(captions="chair"),
    "an empty caption": meta(captions=["", "chair"]),
    "a caption that is a number": meta(captions=[3]),
    "captions of a language that are numbers": meta(captions_by_language={"de": [1]}),
    "scale 0": meta(scale=0.0),
    "a negative scale": meta(scale=-1.0),
    "a scale that is no number": meta(scale=float("nan")),
    "an infinite scale": meta(scale=float("inf")),
    "a scale that is true": meta(scale=True),
    "a center of two numbers": meta(center=[0.0, 0.0]),
    "a center of texts": meta(center=["a", "b", "c"]),
    "no opening angle": meta(fov_y="gone"),
    "an opening angle of 0": meta(fov_y=0.0),
    "an opening angle beyond a half turn": meta(fov_y=4.0),
    "an opening angle in words": meta(fov_y="wide"),
}


def written(folder: Path, schema: Schema, samples: dict[str, Members]) -> Path:
    """A folder of one shard, its checksums right whatever its members are."""
    with ShardWriter(folder, schema, {}, len(samples), "train") as writer:
        for key, members in samples.items():
            writer.write_encoded(key, {suffix: content for suffix, content in members.items() if content != GONE})
    write_manifest(folder, schema, {}, writer.entries)
    return folder


def stream(folder: Path, transforms: list[Transform], on_bad_shard: str) -> SampleStream:
    shards = open_shards(folder, "train")
    return SampleStream(shards, transforms, seed=0, batch_size=4, mixing=Mixing(), on_bad_shard=on_bad_shard)


def check_named(folder: Path, transforms: list[Transform], member: str, good: str) -> None:
    """Both readers name shard, sample and member; skipping leaves the sound sample alone."""
    shards = open_shards(folder, "train")
    for read in (
        lambda: list(HeldOut(shards, transforms, seed=0, batch_size=1)),
        lambda: list(islice(stream(folder, transforms, "error"), 2)),
    ):
        with pytest.raises(BadSampleError) as error:
            read()
        text = str(error.value)
        assert "train-000000.tar, sample 'bad'" in text
        assert member in text
        assert "\n" not in text
        assert len(text) < 600
    left = list(islice(stream(folder, transforms, "skip"), 3))
    assert {meta["id"] for batch in left for meta in batch["meta"]} == {good}


@pytest.mark.parametrize("name", DAMAGES)
def test_every_wrong_member_of_a_sample_is_named(name: str, tmp_path: Path) -> None:
    suffix, content = DAMAGES[name]
    encoded = {key: SAMPLE.encode(key, sound(key)) for key in ("bad", "good")}
    folder = written(tmp_path, SAMPLE, {**encoded, "bad": {**encoded["bad"], suffix: content}})
    # Where two members disagree, the one that is read second is named.
    check_named(folder, STAGES, {"a camera too many": "view_003.png"}.get(name, suffix.partition("_")[0]), "good")


LATENTS: dict[str, bytes] = {
    "none": GONE,
    "no number": encode_npy(np.full((2, 3), np.nan, np.float32)),
    "infinite": encode_npy(np.full((2, 3), np.inf, np.float32)),
    "other type": encode_npy(np.zeros((2, 3), np.float16)),
    "flat": encode_npy(np.zeros(6, np.float32)),
    "empty": encode_npy(np.zeros((0, 3), np.float32)),
}


@pytest.mark.parametrize("name", LATENTS)
def test_every_wrong_latent_is_named(name: str, tmp_path: Path) -> None:
    encoded = {key: LATENT.encode(key, latent_sample(key)) for key in ("a", "bad")}
    folder = written(tmp_path, LATENT, {**encoded, "bad": {**encoded["bad"], "latent.npy": LATENTS[name]}})
    check_named(folder, [Latent(), Meta()], "latent.npy", "a")


EMBEDDINGS: dict[str, tuple[str, bytes]] = {
    "no rows": ("meta.json", encode_json(latent_sample("bad")["meta.json"])),
    "rows of another number": ("meta.json", encode_json({**latent_sample("bad")["meta.json"], "rows": [0]})),
    "no number": ("vector.npy", encode_npy(np.full((2, 4), np.nan, np.float16))),
    "no vector": ("vector.npy", GONE),
}


@pytest.mark.parametrize("shape", [(4, 3), (2, 5)])
@pytest.mark.parametrize("size", [1, 2])
def test_latents_of_two_shapes_are_both_named(shape: tuple[int, int], size: int, tmp_path: Path) -> None:
    encoded = {key: LATENT.encode(key, latent_sample(key)) for key in ("a", "b")}
    other = {"latent.npy": encode_npy(np.zeros(shape, np.float32))}
    folder = written(tmp_path, LATENT, {**encoded, "b": {**encoded["b"], **other}})
    with pytest.raises(UserError, match=r"train-000000.tar, sample 'b'.*train-000000.tar, sample 'a'.*make them alike"):
        list(HeldOut(open_shards(folder, "train"), [Latent()], seed=0, batch_size=size))
    with pytest.raises(UserError, match="make them alike"):
        list(islice(stream(folder, [Latent()], "skip"), 3))


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_every_wrong_embedding_is_named(name: str, tmp_path: Path) -> None:
    encoded = {}
    for key in ("a", "bad"):
        about = {**latent_sample(key)["meta.json"], "rows": [0, 1]}
        encoded[key] = EMBEDDING.encode(key, {"meta.json": about, "vector.npy": np.ones((2, 4), np.float16)})
    folder = written(tmp_path / "sound", EMBEDDING, encoded)
    transforms: list[Transform] = [VectorLatent(EmbeddingSpace.measured(folder)), Meta()]
    suffix, content = EMBEDDINGS[name]
    folder = written(tmp_path / "bad", EMBEDDING, {**encoded, "bad": {**encoded["bad"], suffix: content}})
    check_named(folder, transforms, "vector" if suffix == "vector.npy" else "", "a")


def test_a_sample_without_captions_will_do_where_none_are_read(tmp_path: Path) -> None:
    members = {**SAMPLE.encode("a", sound("a")), "meta.json": meta(captions=[])[1]}
    folder = written(tmp_path, SAMPLE, {"a": members})
    transforms = [transform for transform in STAGES if not isinstance(transform, Labels)]
    assert next(iter(stream(folder, transforms, "error")))["input"].shape == (4, 8, 9)


def test_samples_that_fit_no_batch_are_named(tmp_path: Path) -> None:
    class Picture:
        def __call__(self, sample: Any, generator: np.random.Generator) -> dict[str, Any]:
            return {"image": np.array(sample["view_000.png"]), "key": sample["__key__"]}

    encoded = {key: SAMPLE.encode(key, sphere_sample(key, points=4, pixels=size)) for key, size in (("a", 4), ("b", 6))}
    folder = written(tmp_path, SAMPLE, encoded)
    with pytest.raises(UserError, match=r"image of shapes \(4, 4, 4\) and \(6, 6, 4\) \('a', 'b'\)"):
        list(HeldOut(open_shards(folder, "train"), [Picture()], seed=0, batch_size=2))


@pytest.mark.parametrize(
    "change",
    [
        {"extra": []}, {"settings": None}, {"fingerprint": 3}, {"extra": {"classes": ["chair"]}}, {"schema": "sample"},
        {"extra": {"classes": {"chair": "many"}}}, {"shards": {}}, {"shards": [3]}, {"shards": []}, {"schema": {}},
        {"format_version": "x"},
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_named(change: dict, tmp_path: Path) -> None:
    written(tmp_path, LATENT, {"a": LATENT.encode("a", latent_sample("a"))})
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=r"manifest\.json|no shard of split"):
        open_shards(tmp_path, "train")
    path.write_bytes(b'{"extra": ' + b"[" * 100_000)
    with pytest.raises(UserError, match=r"manifest\.json"):
        open_shards(tmp_path, "train")


def test_a_class_that_reads_as_a_reference_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardWriter(tmp_path, LATENT, {}, 1, "train") as writer:
        writer.write("a", latent_sample("a"))
    write_manifest(tmp_path, LATENT, {}, writer.entries, {"classes": {"${oc.env:HOME}": 1}})
    with pytest.raises(UserError, match="prepare with another name"):
        _ = open_shards(tmp_path, "train").classes
