"""Outputs on a disk and in object storage keep one contract, also through a network that breaks."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.faults import FaultyProxy
from tests.data.s3 import create_bucket, s3_server

from fieldforge.errors import Unfinished, UserError
from fieldforge.storage import lock, object_folder
from fieldforge.storage.cloud import Patience
from fieldforge.storage.object_folder import ObjectOutput
from fieldforge.storage.output import Output, open_output


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with s3_server() as place:
        create_bucket("results")
        yield place


@pytest.fixture(params=["disk", "objects"])
def output(request: pytest.FixtureRequest, server: tuple[str, int], tmp_path: Path) -> Iterator[Output]:
    place = tmp_path / "out" if request.param == "disk" else f"s3://results/{request.node.name}/out"
    with lock.scope():
        yield open_output(place)


def put(output: Output, name: str, payload: bytes) -> None:
    with output.file(name) as file:
        file.write(payload)


def test_files_are_whole_or_not_there(output: Output):
    output.begin("output")
    put(output, "a.tar", b"old")

    def interrupted() -> None:
        with output.file("a.tar") as file:
            file.write(b"new and")
            file.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert output.read("a.tar") == b"old"
    put(output, "a.tar", b"newer")
    assert (output.read("a.tar"), output.size("a.tar"), output.size("b.tar")) == (b"newer", 5, None)
    with pytest.raises(FileNotFoundError):
        output.read("b.tar")


def test_what_is_there_is_listed_and_removed(output: Output, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(object_folder, "PAGE", 2)  # so that there are several
    output.begin("output")
    for name in ("b", "a", "c", "sub/x", "sub/y/z", "späte Blüte #1.tar"):
        put(output, name, name.encode())
    assert [name for name in output.names() if name != lock.NAME] == ["a", "b", "c", "späte Blüte #1.tar"]
    assert output.below("sub").all_names() == ["x", "y/z"]
    assert output.below("nowhere").all_names() == output.below("nowhere").names() == []
    output.remove(["a", "never there", "b"])
    output.remove_folder("sub")
    assert [name for name in output.all_names() if name != lock.NAME] == ["c", "späte Blüte #1.tar"]
    assert pickle.loads(pickle.dumps(output)).read("c") == b"c"


def test_half_of_all_answers_may_go_wrong(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch):
    proxy = FaultyProxy(*server, rate=0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    output = ObjectOutput("s3://results/faulty", Patience(first_wait=0.001, longest_wait=0.01, request_seconds=0.5))
    payloads = {f"{number}.tar": os.urandom(1000) for number in range(20)}
    for name, payload in payloads.items():
        put(output, name, payload)
    assert {name: output.read(name) for name in output.names()} == payloads
    output.remove(payloads)
    assert output.all_names() == []
    proxy.close()


def test_a_store_that_stays_away_and_one_that_cannot_be_written_are_sentences(monkeypatch: pytest.MonkeyPatch, server):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    output = ObjectOutput("s3://results/away", Patience(minutes=0))
    with pytest.raises(Unfinished, match=r"s3://results/away/a: could not be written in 1 attempt .*the same command"):
        put(output, "a", b"")
    with pytest.raises(UserError, match="a web server cannot be written to; give a folder, or one of s3://, gs://"):
        open_output("https://example.org/shards")
