"""Tars of others with clips: captions beside them, damaged ones, and none."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from tests.preparation.clips.test_clip_files import animation, ramps

from fieldforge.data.manifest import read_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.preparation.clips.clip_shards import MOST_TEXT, ClipShards
from fieldforge.readers.tar_store import TarStore
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.prepare import run_preparation


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, payload in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))


def test_clips_of_tars_become_samples(tmp_path: Path):
    tars = tmp_path / "tars"
    tars.mkdir()
    clip = animation(ramps(10))
    described = json.dumps({"caption": "a wave", "url": "somewhere", "license": "CC0"}).encode()
    first = {
        "./0001.gif": clip,
        "./0001.txt": b"a cat jumps",
        "0002.gif": clip,
        "0002.json": described,
        "0002.png": b"x",
    }
    write_tar(tars / "00000.tar", first)
    write_tar(
        tars / "00001.tar", {"a/b.gif": clip, "a/b.cls": b"dog", "c.gif": clip, "c.json": b"{", "d.gif": clip[:900]}
    )
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        words = [f"source.path={tars}", "source.licence=mine", f"output={tmp_path}/out", "workers=1"]
        small = ["preparation.size=32", "preparation.frames=5", "preparation.fps=5", "preparation.heldout_share=0"]
        run_preparation(compose("prepare", ["source=clip_shards", *words, *small]))
    shards = open_shards(tmp_path / "out", next(iter(read_manifest(tmp_path / "out").shards.splits)))
    metas = [ShardReader(shards).read_number(number)["meta.json"] for number in range(shards.samples)]
    assert {meta["id"]: (meta["captions"], meta["class"], meta["source"], meta["licence"]) for meta in metas} == {
        "00000.tar/0001": (["a cat jumps"], "other", "tars", "mine"),
        "00000.tar/0002": (["a wave"], "other", "somewhere", "CC0"),
        "00001.tar/a/b": (["dog"], "dog", "tars", "mine"),
    }
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert {each["id"]: each["reason"].split(" (")[0] for each in rejected} == {
        "00001.tar/c": "what lies beside it cannot be read",
        "00001.tar/d": "the clip cannot be read",
    }


def test_texts_that_are_too_long_or_too_deep_reject_their_clip(tmp_path: Path):
    texts = {"a.txt": b"x" * (MOST_TEXT + 1), "b.json": b"[" * 10**5, "c.txt": b"a cat"}
    write_tar(tmp_path / "00.tar", texts | {f"{key}.gif": b"a clip" for key in "abc"})
    records = ClipShards(str(tmp_path), None, "unknown", "unknown").records(1)
    assert [record.id for record in records if record.reject is None] == ["00.tar/c"]
    assert all("what lies beside it cannot be read" in str(record.reject) for record in records[:2])


def test_the_pieces_of_a_sparse_file_are_not_taken_for_its_content(tmp_path: Path):
    member = tarfile.TarInfo("a.gif")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 512
    with tarfile.open(tmp_path / "00.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(bytes(512)))
    assert TarStore(tmp_path / "00.tar", 1).names() == []


def test_no_tar_and_a_damaged_tar_are_one_sentence(tmp_path: Path):
    source = ClipShards(str(tmp_path), None, "unknown", "unknown")
    with pytest.raises(UserError, match="there is no tar; give a folder of tars, or one tar"):
        source.records(1)
    (tmp_path / "00.tar").write_bytes(b"hello" * 300)
    with pytest.raises(UserError, match=r"00\.tar: cannot be read as a tar .*; get the file again"):
        ClipShards(str(tmp_path), None, "unknown", "unknown").records(1)
