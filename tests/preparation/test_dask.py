"""A preparation on a real Dask cluster of two nodes, whose workers are killed: the bytes are those of this machine.

The workers' imports of PyTorch and of the libraries of meshes make this slow: a minute of two quiet cores.
"""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from tests.data.s3 import create_bucket, s3_server
from tests.preparation.dask_cluster import ROOT, Cluster
from tests.preparation.make import tiny_settings, write_cubes, write_zip
from tests.preparation.test_faults import GUARDED, FaultyStaging

from fieldforge.engines.code import check_code, code_of_this_machine
from fieldforge.engines.dask_engine import DaskEngine
from fieldforge.engines.engine import LocalEngine
from fieldforge.errors import Unfinished, UserError
from fieldforge.preparation import preparation_job
from fieldforge.preparation.folder import FolderSource
from fieldforge.preparation.pipeline import prepare
from fieldforge.preparation.preparation_job import Job, job_of
from fieldforge.preparation.stage_assets import stage_all
from fieldforge.preparation.staging import Staging
from fieldforge.runs.embed import run_embedding
from fieldforge.storage.object_folder import ObjectFolder
from fieldforge.storage.output import LocalOutput

COUNT = 10
SETTINGS = tiny_settings(heldout_share=0.3)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of an empty bucket."""
    with s3_server():
        create_bucket("assets")
        yield "s3://assets"


@pytest.fixture(scope="module")
def cluster(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), 2)
    yield cluster
    cluster.close()


@pytest.fixture
def engine(cluster: Cluster) -> Iterator[DaskEngine]:
    while not cluster.file.exists():
        time.sleep(0.1)
    engine = DaskEngine(str(cluster.file), batch=2)
    yield engine
    if engine.client is not None:
        engine.client.close()


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Boxes, a broken file, and a zip of one more box."""
    folder = tmp_path_factory.mktemp("source") / "cubes"
    write_cubes(folder, COUNT)
    (folder / "broken.obj").write_text("f 1 2 3\n")
    write_zip(folder / "more.zip", {"inside.obj": (folder / "thing-a.obj").read_bytes()})
    return folder


def source_of(place: Path | str) -> FolderSource:
    return FolderSource(str(place), None, "cubes", "CC0-1.0", "me", {})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def local(assets: Path) -> dict[str, bytes]:
    """What this machine alone writes."""
    prepare(source_of(assets), SETTINGS, 0, assets.parent / "local", LocalEngine(2))
    return contents(assets.parent / "local")


def disturb(cluster: Cluster, output: Path, ended: threading.Event) -> list[str]:
    """Kills a whole node after the first asset, which comes back, and a worker after the fifth."""
    killed: list[str] = []
    steps = [(1, "node"), (5, "worker")]
    while steps and not ended.wait(0.01):
        if len(list(output.glob(".staging/*/*/*.tar"))) < steps[0][0]:
            continue
        if steps[0][1] == "node":
            cluster.kill_node(cluster.nodes[0])
            cluster.nodes[0] = cluster.node(0)
            killed.append(steps.pop(0)[1])
        elif cluster.kill_worker(cluster.nodes[1]):
            killed.append(steps.pop(0)[1])
    return killed


def test_killed_workers_and_nodes_lose_nothing_and_double_nothing(tmp_path, cluster, engine, assets, local):
    ended, killed = threading.Event(), list[str]()
    thread = threading.Thread(target=lambda: killed.extend(disturb(cluster, tmp_path / "out", ended)))
    thread.start()
    try:
        report = prepare(source_of(assets), SETTINGS, 0, tmp_path / "out", engine)
    finally:
        ended.set()
        thread.join()
    assert killed == ["node", "worker"]
    assert (report.assets, report.rejected) == (COUNT + 2, 1)
    assert contents(tmp_path / "out") == local


def test_source_and_shards_may_lie_in_object_storage(bucket, engine, assets, local):
    cloud = ObjectFolder(f"{bucket}/cubes")
    for path in assets.iterdir():
        cloud.write(path.name, path.read_bytes())
    for run in range(2):  # the second one finds all done
        report = prepare(source_of(f"{bucket}/cubes"), SETTINGS, 0, f"{bucket}/some/shards", engine)
        assert report.was_complete == bool(run)
    written = ObjectFolder(f"{bucket}/some/shards")
    assert {entry.name: written.read(entry.name) for entry in written.entries()} == local


def test_features_that_workers_embed_are_those_of_this_machine(tmp_path, cluster, engine, assets, local):
    for name, options in (("here", []), ("there", ["engine=dask", f"engine.address={cluster.file}"])):
        shards = tmp_path / name
        shutil.copytree(assets.parent / "local", shards)
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            run_embedding(compose("prepare", ["embed=text", f"shards={shards}", "device=cpu", *options]))
    written = contents(tmp_path / "there" / "embeddings" / "text")
    assert written == contents(tmp_path / "here" / "embeddings" / "text")
    assert "train-000000.tar" in written


def test_an_asset_that_hangs_or_kills_is_rejected_and_the_others_go_on(tmp_path, engine):
    records = write_cubes(tmp_path / "assets", 4).records(2**24)
    staging = FaultyStaging(LocalOutput(tmp_path / "staging"))
    with job_of(GUARDED, 0, staging) as current:
        reasons = stage_all(records, current, engine, lambda record, seconds: None)
    assert reasons["thing-a.obj"] is None
    assert "longer than 4 s" in str(reasons["thing-b.obj"])
    for name in ("thing-c.obj", "thing-d.obj"):
        assert "more than 0.75 GB of memory" in str(reasons[name])


def test_what_ends_on_a_worker_is_one_sentence_with_its_name(tmp_path, engine, monkeypatch):
    records = write_cubes(tmp_path / "assets", 1).records(2**24)
    (tmp_path / "assets").rename(tmp_path / "away")
    sentence = rf"assets is no longer there \(on {socket.gethostname()}\): bring it back.*\(on {socket.gethostname()}\)"
    with job_of(SETTINGS, 0, Staging(LocalOutput(tmp_path / "staging"))) as current:
        with pytest.raises(UserError, match=sentence):
            stage_all(records, current, engine, lambda record, seconds: None)
        monkeypatch.setattr(preparation_job, "VISIBLE_SECONDS", 0.0)
        unseen = Job(SETTINGS, 0, Staging(LocalOutput(tmp_path / "elsewhere")), current.token)
        with pytest.raises(UserError, match=r"does not see .*elsewhere: give an output= that all machines share"):
            unseen.check_machine()
    with pytest.raises(UserError, match=r"has numpy .*, and the machine of the command has 1\.0\.0: install the same"):
        check_code(code_of_this_machine() | {"numpy": "1.0.0"})


def test_no_scheduler_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"engine\.address=.*none\.json: there is no such file"):
        DaskEngine(str(tmp_path / "none.json")).about()
    with pytest.raises(UserError, match=r"engine\.address=tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        DaskEngine("tcp://127.0.0.1:9").about()


def test_the_command_goes_on_after_its_scheduler_has_gone(tmp_path, cluster, assets, local):
    settings = [
        "surface.points=64", "distance.near_points=64", "distance.volume_points=64", "views.count=2", "views.size=16",
        "limits.max_triangles=100000", "limits.max_file_mb=16", "heldout_share=0.3", "samples_per_shard=2",
    ]  # fmt: skip
    here = [sys.executable, str(ROOT / "prepare.py"), "source=folder", f"source.path={assets}", "source.name=cubes"]
    here += ["source.licence=CC0-1.0", "source.creator=me", f"output={tmp_path / 'out'}"]
    here += [f"preparation.{setting}" for setting in settings]
    command = [*here, "engine=dask", f"engine.address={cluster.file}", "engine.batch=1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").glob(".staging/*/*/*.tar")) and run.poll() is None:
        time.sleep(0.01)
    cluster.scheduler.send_signal(signal.SIGKILL)
    _, error = run.communicate(timeout=120)
    assert run.returncode == Unfinished.exit_code, error
    assert "the scheduler is gone; start it again" in error
    assert "Traceback" not in error
    assert subprocess.run(here, capture_output=True).returncode == 0
    assert contents(tmp_path / "out") == local
