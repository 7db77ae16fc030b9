"""A table of entries reads like the list it was made of; a document that comes in pieces reads like the whole."""

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldforge.data.json_pieces import JsonError, JsonPieces
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import Manifest, build_manifest
from fieldforge.data.table import EntryError, ShardEntry, ShardTable
from fieldforge.errors import UserError

SUM = st.binary(min_size=32, max_size=32).map(bytes.hex)
ENTRY = st.builds(
    ShardEntry,
    name=st.text(st.characters(exclude_characters="/\\", exclude_categories=["Cs"]), max_size=9).map("{}.tar".format),
    split=st.sampled_from(["train", "heldout", "übrige"]),
    samples=st.integers(1, 100),
    members=st.integers(100, 2**31 - 1),
    bytes=st.integers(0, 2**62),
    sha256=SUM,
    index_sha256=SUM,
)
ENTRIES = st.lists(ENTRY, max_size=8, unique_by=lambda entry: entry.name)


@given(ENTRIES)
@settings(deadline=None, max_examples=50)
def test_a_table_gives_back_its_entries(entries: list[ShardEntry]) -> None:
    table = ShardTable(entries)
    assert list(table) == entries
    assert table == ShardTable(entries) == pickle.loads(pickle.dumps(table))
    assert table.samples.tolist() == [entry.samples for entry in entries]
    for split in ("train", "heldout", "nowhere"):
        assert [table[row] for row in table.of_split(split)] == [entry for entry in entries if entry.split == split]
    assert [table.find(entry.name) for entry in entries] == entries
    assert table.find("nowhere.tar") is None


@given(ENTRIES, st.integers(1, 40))
@settings(deadline=None, max_examples=50)
def test_a_manifest_in_pieces_comes_back_equal(entries: list[ShardEntry], size: int) -> None:
    manifest = build_manifest(LATENT, {"text": 'ä"]}', "number": -1.5e3}, entries, {"list": [1, [], {}]})
    text = b"".join(manifest.to_json())
    assert [json.loads(line.rstrip(b",")) for line in text.splitlines() if line.startswith(b"  ")] == (
        json.loads(text)["shards"]
    )
    assert Manifest.from_json([text[at : at + size] for at in range(0, len(text), size)], "here") == manifest
    compact = json.dumps(dict(sorted(json.loads(text).items(), reverse=True)), ensure_ascii=False).encode()
    assert Manifest.from_json([compact], "here") == manifest  # whatever the layout


def test_names_of_equal_hash_are_told_apart() -> None:
    """CRC-32 of "plumless" and "buckeroo" are equal, so also with the same ending."""
    sums = {"sha256": "0" * 64, "index_sha256": "f" * 64}
    entries = [ShardEntry(f"{name}.tar", "train", 1, 1, 1, **sums) for name in ("plumless", "buckeroo")]
    table = ShardTable(entries)
    assert table.find("buckeroo.tar") == entries[1]
    with pytest.raises(EntryError, match=r"buckeroo\.tar' is listed twice"):
        ShardTable([*entries, entries[1]])


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 0}, {"samples": True}, {"samples": "3"}, {"samples": 2**40, "members": 2**41}, {"bytes": -1},
        {"members": 1}, {"sha256": "abc"}, {"index_sha256": "g" * 64}, {"name": "a/b.tar"}, {"split": None},
        {"split": "../x"}, {"more": 1},
    ],
)  # fmt: skip
def test_unsound_entries_are_refused(change: dict[str, Any]) -> None:
    row = {"name": "a.tar", "split": "train", "samples": 3, "members": 6, "bytes": 9, "sha256": "0" * 64}
    row |= {"index_sha256": "0" * 64} | change
    head = {"format": "fieldforge-shards", "format_version": 1, "schema": {"name": "latent", "version": 1}}
    with pytest.raises(UserError, match="here: its list of shards is unsound"):
        Manifest.from_json([json.dumps({**head, "shards": [row]}).encode()], "here")


def test_a_table_takes_little_memory() -> None:
    table = ShardTable(ShardEntry(f"train-{n:06d}.tar", "train", 9, 18, n, "0" * 64, "1" * 64) for n in range(2000))
    arrays = sum(value.nbytes for value in vars(table).values() if isinstance(value, np.ndarray))
    assert (arrays + len(table._names) + len(table._sums)) / len(table) <= 120


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), st.integers(1, 30), st.sampled_from([None, 1]))
@settings(deadline=None, max_examples=100)
@example({"": 0.0}, 1, None)
@example({"a": [-1.5e-7, 20]}, 1, None)
def test_pieces_of_json_read_like_the_whole(document: dict[str, Any], size: int, indent: int | None) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    assert read_whole([text[at : at + size] for at in range(0, len(text), size)]) == document


def read_whole(pieces: list[bytes]) -> dict[str, Any]:
    cursor = JsonPieces(pieces)
    read = {key: list(cursor.items()) if cursor.peek() == "[" else cursor.value() for key in cursor.members()}
    cursor.finish()
    return read


BROKEN = [b"", b"{", b"[", b'{"a": 1', b'{"a": 1,}', b'{"a" 1}', b"{1: 2}", b'{"a": [1,]}', b'{"a": 1} 2', b"\xff"]


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonError):
        read_whole([text])
