"""What a shard may hold, and the bytes of its members."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.data.make import latent_sample, sphere_sample

from fieldforge.data.codec import decode_member, encode_member
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import read_manifest, write_manifest
from fieldforge.data.schema import COMMON_META, FieldSpec, Schema
from fieldforge.data.schemas import SCHEMAS, register
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.errors import UserError

DTYPES = st.sampled_from(["float16", "float32", "int8", "uint8", "uint16", "int64"])


@given(DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=5))), st.booleans())
def test_arrays_come_back_equal_and_numpy_reads_them(array: np.ndarray, transposed: bool) -> None:
    array = array.T if transposed else array
    payload = encode_member("a.npy", array)
    for result in (decode_member("a.npy", payload), np.load(io.BytesIO(payload), allow_pickle=False)):
        np.testing.assert_array_equal(result, array)
        assert result.dtype == array.dtype
    assert payload == encode_member("a.npy", np.asfortranarray(array))  # bytes depend on values, not on memory layout


@given(hnp.arrays("uint8", (5, 7, 4)), hnp.arrays("uint16", (5, 7)))
def test_pictures_come_back_bit_for_bit(rgba: np.ndarray, depth: np.ndarray) -> None:
    for picture in (rgba, depth):
        result = decode_member("p.png", encode_member("p.png", picture))
        assert result.dtype == picture.dtype
        np.testing.assert_array_equal(result, picture)


def test_pickled_arrays_are_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npy"):
        decode_member("a.npy", buffer.getvalue())


@pytest.mark.parametrize("suffix", ["a.npy", "a.png", "a.json"])
@pytest.mark.parametrize("payload", [b"", b"\x93NUMPY\x01\x00", b"nonsense", b"\x93NUMPY\x01\x00\x02\x00{}"])
def test_members_that_are_no_such_thing_are_named(suffix: str, payload: bytes) -> None:
    with pytest.raises(UserError, match=suffix):
        decode_member(suffix, payload)


def test_a_pickle_is_no_member() -> None:
    with pytest.raises(UserError, match=r"\.pkl"):
        decode_member("a.pkl", b"")


def test_samples_come_back_equal() -> None:
    sample = sphere_sample("a")
    result = SAMPLE.decode(SAMPLE.encode("a", sample))
    assert result.keys() == sample.keys()
    assert result["meta.json"] == sample["meta.json"]
    for suffix in result.keys() - {"meta.json"}:
        np.testing.assert_array_equal(result[suffix], sample[suffix])


def changed(**changes: object) -> dict:
    sample = sphere_sample("a", points=8, pixels=4, views=2)
    for name, value in changes.items():
        suffix = name.replace("__", ".")
        if value is None:
            del sample[suffix]
        else:
            sample[suffix] = value
    return sample


@pytest.mark.parametrize(
    ("sample", "named"),
    [
        (changed(near_sdf__npy=None), "near_sdf"),
        (changed(near_sdf__npy=np.zeros(8, np.float32)), "near_sdf"),  # dtype
        (changed(near_sdf__npy=np.zeros(9, np.float16)), "near_sdf"),  # not as many as points
        (changed(surface_points__npy=np.zeros((0, 3), np.float16)), "surface_points"),
        (changed(volume_sdf__npy=np.full(8, np.nan, np.float16)), "volume_sdf"),
        (changed(view_001__png=None), "view_001"),
        (changed(depth_001__png=np.zeros((4, 5), np.uint16)), "depth_001"),
        (changed(view_002__png=np.zeros((4, 4, 4), np.uint8)), "view_002"),  # more views than cameras
        (changed(meta__json={"id": "a"}), "name"),
        (changed(meta__json={**sphere_sample("a")["meta.json"], "captions": []}), "caption"),
        (changed(meta__json={**sphere_sample("a")["meta.json"], "scale": 0.0}), "scale"),
    ],
)
def test_samples_outside_the_schema_are_refused_by_name(sample: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        SAMPLE.check("a", sample)


@pytest.mark.parametrize("key", ["a.b", "../a", "a/b", "", "ä", "x" * 81])
def test_keys_that_would_leave_their_place_are_refused(key: str) -> None:
    with pytest.raises(UserError, match="key"):
        LATENT.check(key, latent_sample("1"))


def test_json_has_one_spelling() -> None:
    assert encode_member("a.json", {"b": 1.5, "a": "ü"}) == encode_member("a.json", {"a": "ü", "b": 1.5})
    assert json.loads(encode_member("a.json", {"a": "ü"})) == {"a": "ü"}
    with pytest.raises(ValueError, match="JSON"):
        encode_member("a.json", float("nan"))


def picture(**meta: object) -> dict:
    common = {key: kind() for key, kind in COMMON_META.items()}
    return {"meta.json": {**common, "captions": ["a cat"], **meta}, "image.png": np.zeros((3, 5, 4), np.uint8)}


def test_a_picture_needs_no_camera() -> None:
    result = IMAGE.decode(IMAGE.encode("a", picture()))
    assert result["meta.json"]["captions"] == ["a cat"]
    assert result["image.png"].shape == (3, 5, 4)


@pytest.mark.parametrize(
    ("sample", "named"),
    [
        (picture(captions=[]), "caption"),
        (picture(tags="red"), "tags='red'"),
        ({**picture(), "image.png": np.zeros((3, 5, 2), np.uint8)}, "2 channels"),
        ({**picture(), "image.png": np.zeros((3, 5), np.uint8)}, r"shape \(3, 5\)"),
        ({"meta.json": picture()["meta.json"]}, r"image\.png is missing"),
    ],
)
def test_pictures_outside_the_schema_are_refused_by_name(sample: dict, named: str) -> None:
    with pytest.raises(UserError, match=named):
        IMAGE.check("a", sample)


def _loud(meta: Mapping[str, Any]) -> str | None:
    return None if meta["rate"] > 0 else f"has rate={meta['rate']}, which is no rate"


SOUND = Schema("test_sound", 1, (FieldSpec("meta.json"), FieldSpec("wave.npy", "int16", ("N",))),
               {**COMMON_META, "rate": int}, _loud)  # fmt: skip


def test_a_manifest_knows_a_schema_of_others_once_it_is_registered(tmp_path: Path) -> None:
    write_manifest(tmp_path, SOUND, {}, [])
    with pytest.raises(UserError, match=r"schema .*test_sound.* is not known"):
        read_manifest(tmp_path)
    try:
        assert register(SOUND) is register(SOUND)
        assert read_manifest(tmp_path).schema == SOUND
        with pytest.raises(ValueError, match="another schema 'test_sound'"):
            register(Schema("test_sound", 2, ()))
    finally:
        SCHEMAS.pop(SOUND.name, None)
    sample = {"meta.json": {**picture()["meta.json"], "rate": 0}, "wave.npy": np.zeros(4, np.int16)}
    with pytest.raises(UserError, match=r"meta\.json has rate=0, which is no rate; fix its writer"):
        SOUND.check("a", sample)
