"""Preparation on 1, 2, 4 and 8 workers of a Dask cluster beside the processes of this machine, and what a million cost.

    python benchmarks/preparation_scaling.py [--meshes 48 | --requests 64 | --million]

Assets take a second of waiting each (`waiting_recipe.py`), so that the cores of this machine do not matter: efficiency
is the rate divided by that of one local worker and by the number of workers. The cluster's processes run before, and
the bytes are the same each way.

`--meshes` prepares generated meshes (bumpy spheres of 20,480 triangles, `preparation=full`) on as many workers as there
are cores. `--requests` counts the requests of preparing such meshes from and to object storage, an asset. `--million`
measures what the command itself needs for a million assets: processor seconds and peak memory, with an engine that
answers at once.
"""

import argparse
import logging
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from hydra import compose, initialize_config_dir
from memory import peak_mb
from PIL import Image
from waiting_recipe import WaitingRecipe

from fieldforge.configuration.build import build
from fieldforge.data.table import ShardEntry
from fieldforge.engines.dask_engine import DaskEngine
from fieldforge.engines.engine import Engine, LocalEngine
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.events import Decided, Written
from fieldforge.preparation.folder import FolderSource
from fieldforge.preparation.images.picture_folder import PictureFolder
from fieldforge.preparation.images.picture_recipe import PictureRecipe
from fieldforge.preparation.pipeline import AssetSource, _records_sha256, prepare
from fieldforge.preparation.preparation_job import job_of
from fieldforge.preparation.recipe import Recipe
from fieldforge.preparation.shard_parts import ShardJob, ShardPart, parts_of, write_all
from fieldforge.preparation.stage_assets import earlier_reasons, stage_all
from fieldforge.preparation.staging import Staging
from fieldforge.storage.object_folder import ObjectFolder
from fieldforge.storage.output import LocalOutput

ROOT = Path(__file__).resolve().parents[1]
MILLION = 1_000_000


def recipe(preparation: str = "full") -> Recipe:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("prepare", ["source=folder", "source.path=.", f"preparation={preparation}"])
    return build(config, "preparation")


def waiting_recipe() -> Recipe:
    pictures = recipe("pictures")
    assert isinstance(pictures, PictureRecipe)
    return WaitingRecipe(**vars(pictures))


def write_meshes(folder: Path, count: int) -> None:
    """Spheres with bumps of other directions each."""
    folder.mkdir()
    for number in range(count):
        mesh = trimesh.creation.icosphere(5)
        directions = np.random.default_rng(number).normal(size=(6, 3))
        bumps = np.sin(4 * mesh.vertices @ directions.T).sum(1, keepdims=True)
        mesh.vertices = mesh.vertices * (1 + 0.05 * bumps)
        mesh.export(folder / f"sphere_{number:04d}.ply")


def write_pictures(folder: Path, count: int) -> None:
    """Noise of 64² pixels."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"noise_{number:04d}.png")


def source_of(place: object) -> FolderSource:
    return FolderSource(str(place), None, "spheres", "CC0-1.0", "nobody", {})


def pictures_of(place: object) -> PictureFolder:
    return PictureFolder(str(place), None, "noise", "CC0-1.0", "nobody", {})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def compare(folder: Path, source: AssetSource, first: AssetSource, own: Recipe, workers: Sequence[int]) -> None:
    """Prints a table of engines. `first`: a few assets, so that every process has made its imports."""
    from distributed import LocalCluster

    count, outputs = len(source.records(2**24)), iter(range(100))

    def timed(source: AssetSource, engine: Engine) -> float:
        output, began = folder / f"out{next(outputs)}", time.monotonic()
        prepare(source, own, 0, output, engine)
        elapsed = time.monotonic() - began
        if source is not first:
            assert contents(output) == written.setdefault("bytes", contents(output)), "other bytes"
        return elapsed

    written: dict[str, dict[str, bytes]] = {}
    timed(first, LocalEngine(1))
    rows = [("local", 1, timed(source, LocalEngine(1)))]
    for number in workers:
        with LocalCluster(n_workers=number, threads_per_worker=1, dashboard_address=None) as cluster:
            engines = DaskEngine(cluster.scheduler_address, batch=1), DaskEngine(cluster.scheduler_address, batch=4)
            timed(first, engines[0])
            rows.append(("dask", number, timed(source, engines[1])))
            for engine in engines:
                engine.client.close()
    print(f"\n{count} assets; the bytes are the same each way\n")
    print("| engine | workers | assets a second | efficiency |\n|---|---|---|---|")
    for name, number, seconds in rows:
        print(f"| {name} | {number} | {count / seconds:.2f} | {rows[0][2] / seconds / number:.0%} |", flush=True)


class _Requests(logging.Handler):
    """Counts the lines of a web server's log by the method of HTTP."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"(GET|HEAD|PUT|POST|DELETE) /\S*", record.getMessage()):
            listing = found[1] == "GET" and "list-type" in found[0]
            self.counts["LIST" if listing else found[1]] += 1


def count_requests(folder: Path, count: int) -> None:
    """Prints the requests to object storage, an asset, of a preparation by this machine."""
    import boto3
    from moto.server import ThreadedMotoServer

    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ALLOW_HTTP")
    os.environ.update(zip(names, ("someone", "secret", "us-east-1", "us-east-1", "true"), strict=True))
    server, requests = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False), _Requests()
    server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="assets")
    cloud = ObjectFolder("s3://assets/meshes")
    for path in (folder / "meshes").iterdir():
        cloud.write(path.name, path.read_bytes())
    log = logging.getLogger("werkzeug")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(requests)
    prepare(source_of("s3://assets/meshes"), recipe(), 0, "s3://assets/shards", LocalEngine(2))
    server.stop()
    print("\nrequests an asset: " + ", ".join(f"{n / count:.2f} {kind}" for kind, n in sorted(requests.counts.items())))


class _Instant:
    """An engine whose machines take no time."""

    processes = 1

    def batches(self, items: Sequence[Any]) -> list[list[Any]]:
        return [list(items[start : start + 8]) for start in range(0, len(items), 8)]

    def run(self, function: object, batches: Sequence[list[Any]]) -> Iterator[Any]:
        for batch in batches:
            for item in batch:
                if isinstance(item, AssetRecord):
                    yield Decided(item, 1.0, None)
                if isinstance(item, ShardPart):
                    entry = ShardEntry(item.name, item.split, len(item.records), 1, 1, "0" * 64, "0" * 64)
                    yield Written(entry, ())

    def about(self) -> str:
        return ""


def million(folder: Path) -> None:
    """Prints what the command itself needs for a million assets."""
    began, engine, settings = time.process_time(), _Instant(), recipe()
    records = [
        AssetRecord(f"{n // 1000:04d}/mesh_{n:07d}.glb", f"mesh {n}", "/data/meshes", f"mesh_{n:07d}.glb", "mine",
                    captions=(f"a caption of mesh {n}",), revision=str(n))
        for n in range(MILLION)
    ]  # fmt: skip
    _records_sha256(records)
    with job_of(settings, 0, Staging(LocalOutput(folder / "staging"))) as job:
        known = earlier_reasons(records, job)
        reasons = stage_all(records, job, engine, lambda record, seconds: None)
        parts = parts_of(records, dict.fromkeys(reasons, "train"), settings.samples_per_shard)
        entries, _ = write_all(
            parts, ShardJob(job, LocalOutput(folder), settings.schema, {}), engine, lambda count: None
        )
    assert not known
    assert len(entries) == -(-MILLION // settings.samples_per_shard)
    print(f"\n{MILLION:,} assets: {time.process_time() - began:.0f} processor seconds and {peak_mb():,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", type=int)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.million:
            million(folder)
        elif options.requests:
            write_meshes(folder / "meshes", options.requests)
            count_requests(folder, options.requests)
        elif options.meshes:
            write_meshes(folder / "meshes", options.meshes)
            write_meshes(folder / "first", 8)
            workers = sorted({1, len(os.sched_getaffinity(0))})
            compare(folder, source_of(folder / "meshes"), source_of(folder / "first"), recipe(), workers)
        else:
            write_pictures(folder / "pictures", 64)
            write_pictures(folder / "first", 16)
            sources = pictures_of(folder / "pictures"), pictures_of(folder / "first")
            compare(folder, *sources, waiting_recipe(), (1, 2, 4, 8))


if __name__ == "__main__":
    main()
