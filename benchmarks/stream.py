"""Samples per second of the exact stream, of plain webdataset with the same decoding, and of reading the files raw.

    python benchmarks/stream.py [--samples FOLDER] [--latents FOLDER] [--seconds 4] [--rounds 3]

All three read the same files (from the page cache, after one warming pass). Ours and webdataset's decode lazily, run
the same transforms and collate alike, in the same kind of loader; they differ in how they find, order and check samples
(ours compares each with its checksum, webdataset's has a shuffle buffer and no checks). Measurements take turns, and
the best round of each counts, so that other work on the machine disturbs both alike. The last line is the smallest
ratio ours / webdataset over all rows; above it stands peak memory for growing numbers of shards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset

from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.reader import LazySample
from fieldforge.data.shape_transforms import Distances, Surface, ViewRays
from fieldforge.data.shards import open_shards
from fieldforge.data.stream import collate
from fieldforge.data.transforms import Labels, Latent, Meta, Transform, apply_transforms
from fieldforge.data.writer import ShardWriter

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16
LATENT_SHAPE = (256, 32)
TRANSFORMS: dict[str, dict[str, Transform]] = {
    "sample shards": {
        "surface": Surface(2048),
        "distances": Distances(2048, 2048),
        "rays": ViewRays(256),
        "meta": Meta(),
        "labels": Labels(),
    },
    "latent shards": {"latent": Latent(), "labels": Labels()},
}


def ours(root: str, transforms: dict[str, Transform], workers: int) -> Iterable[dict]:
    return ShardDataModule(root, transforms, BATCH, num_workers=workers).train_dataloader()


def plain_webdataset(root: str, transforms: dict[str, Transform], workers: int) -> Iterable[dict]:
    """Shuffled shards and a shuffle buffer, as its documentation recommends; members stay bytes until asked for."""
    generator = np.random.default_rng(0)

    def decode(sample: dict[str, Any]) -> dict[str, Any]:
        members = {suffix: memoryview(value) for suffix, value in sample.items() if isinstance(value, bytes)}
        return apply_transforms(LazySample(sample["__key__"], members, root), list(transforms.values()), generator)

    urls = sorted(str(path) for path in Path(root).glob("train-*.tar"))
    dataset = webdataset.WebDataset(urls, shardshuffle=len(urls), empty_check=False).repeat().shuffle(4 * BATCH)
    batches = dataset.map(decode).batched(BATCH, collation_fn=collate)
    return torch.utils.data.DataLoader(
        batches, batch_size=None, num_workers=workers, prefetch_factor=2 if workers else None
    )


def samples_per_second(loader: Iterable[dict], seconds: float) -> float:
    batches = iter(loader)
    for _ in islice(batches, 4):
        pass
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        next(batches)
        count += BATCH
    return count / (time.perf_counter() - started)


def raw_samples_per_second(root: str) -> float:
    """The floor: the bytes of all shards, in order, and nothing else."""
    shards = open_shards(root, "train")
    started = time.perf_counter()
    for path in Path(root).glob("train-*.tar"):
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
    return shards.samples / (time.perf_counter() - started)


def write_latents(folder: Path, shards: int, samples_per_shard: int, shape: tuple[int, int] = LATENT_SHAPE) -> None:
    """Latent shards of a realistic size out of noise."""
    meta = {
        "id": "x", "name": "armchair", "class": "seating", "captions": ["armchair", "an armchair", "a red armchair"],
        "captions_by_language": {}, "tags": [], "source": "benchmark", "licence": "CC0-1.0", "creator": "",
        "split": "train", "center": [0, 0, 0], "scale": 1.0, "epsilon": 0.006, "fov_y": 0.7, "size_cm": None,
    }  # fmt: skip
    latent = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    with ShardWriter(folder, LATENT, {}, samples_per_shard, "train") as writer:
        for number in range(shards * samples_per_shard):
            key = f"s{number:07d}"
            writer.write(key, {"meta.json": {**meta, "id": key}, "latent.npy": latent})
    write_manifest(folder, LATENT, {}, writer.entries)


def peak_memory_mb(root: Path) -> float:
    """Peak memory of a fresh process that streams 2,000 latents."""
    program = f"""
import itertools, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import memory, stream
for batch in itertools.islice(stream.ours({str(root)!r}, stream.TRANSFORMS["latent shards"], 0), 2000 // stream.BATCH):
    pass
print(memory.peak_mb())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
    )
    return float(process.stdout)


def rates(root: str, transforms: dict[str, Transform], workers: int, seconds: float, rounds: int) -> Iterator[float]:
    """Best rate of ours and of webdataset, measured in turns."""
    sources: tuple[Callable[[], Iterable[dict]], ...] = (
        lambda: ours(root, transforms, workers),
        lambda: plain_webdataset(root, transforms, workers),
    )
    measured = [[samples_per_second(make(), seconds) for make in sources] for _ in range(rounds)]
    yield from np.max(measured, axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folders = [ROOT / "shards" / "furniture", ROOT / "data" / "furniture_cc0"]
    prepared = next(str(folder) for folder in folders if (folder / "manifest.json").is_file())
    parser.add_argument("--samples", default=prepared, help="by default, the prepared furniture, or the embedded one")
    parser.add_argument("--latents", help="by default, noise of a realistic size")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        latents = options.latents
        if latents is None:
            latents = f"{scratch}/latents"
            write_latents(Path(latents), shards=20, samples_per_shard=200)
        print(f"sample shards: {options.samples}; latent shards: {options.latents or 'noise'}")
        print(f"{'':34}{'ours':>10}{'webdataset':>12}{'raw':>10}   samples/s")
        ratios = []
        for (kind, transforms), root in zip(TRANSFORMS.items(), (options.samples, latents), strict=True):
            raw_samples_per_second(root)  # into the page cache
            raw = raw_samples_per_second(root)
            for workers in (0, 1, 2):
                mine, other = rates(root, transforms, workers, options.seconds, options.rounds)
                ratios.append(mine / other)
                print(
                    f"{kind}, {workers} workers{'':12}{mine:12.0f}{other:12.0f}{raw:10.0f}   ratio {ratios[-1]:.2f}",
                    flush=True,
                )
        for shards in (10, 100, 1000):
            folder = Path(scratch) / f"{shards}_shards"
            write_latents(folder, shards, 20, (16, 16))
            print(f"peak memory with {shards:5d} shards: {peak_memory_mb(folder):.0f} MB", flush=True)
    print(f"ratio: {min(ratios):.2f}")


if __name__ == "__main__":
    main()
