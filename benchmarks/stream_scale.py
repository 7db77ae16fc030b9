"""The order of samples at the size of a cluster, simulated: 1,024 ranks x 8 workers over 1M shards of 1,000 samples.

    python benchmarks/stream_scale.py

No shard is read; the manifest of the million shards is real, a file in a temporary folder. Prints, and writes into
docs/stream_scale.md: whether one epoch over all ranks is exact, how evenly ranks are loaded, what a rank that resumes
needs of time and memory, in fresh processes by the way a training takes (open the shards by their manifest, find the
place), and how far the order is from a uniform permutation for typical settings. Times are medians of processor
seconds, which other work on the machine disturbs least. The last line is `ok` or names the first limit missed.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from memory import peak_mb

from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.order import EpochOrder, Mixing, Order, rank_positions
from fieldforge.data.shards import open_shards
from fieldforge.data.table import ShardEntry

RANKS, WORKERS, PER_RANK = 1024, 8, 16
SHARDS, SAMPLES = 1_000_000, 1_000
MIXING = Mixing(slots=RANKS * WORKERS, mix_shards=4)
PAGE = Path(__file__).parent.parent / "docs" / "stream_scale.md"
PROCESSES = 3


def shard_entries(count: int) -> Iterator[ShardEntry]:
    """The entries of a manifest of so many shards."""
    for number in range(count):
        digest = hashlib.sha256(number.to_bytes(4)).hexdigest()
        yield ShardEntry(f"train-{number:06d}.tar", "train", SAMPLES, 2 * SAMPLES, 34_000_000, digest, digest[::-1])


def one_rank(folder: str) -> dict[str, float]:
    """Processor time and peak memory of one rank that resumes in the midst of the third epoch."""
    figures = {"libraries_mb": peak_mb()}
    started = time.process_time()
    shards = open_shards(folder, "train")
    figures |= {"manifest_s": time.process_time() - started, "manifest_mb": peak_mb()}
    batch = RANKS * PER_RANK
    position = 2 * SHARDS * SAMPLES + 12_345 * batch
    started, clock = time.process_time(), time.perf_counter()
    order = Order(shards.samples_per_shard, MIXING, seed=0)
    order.locate(rank_positions(position, batch, 7, RANKS))
    figures |= {"resume_s": time.process_time() - started, "elapsed_s": time.perf_counter() - clock}
    started = time.process_time()
    for step in range(1, 201):
        order.locate(rank_positions(position + step * batch, batch, 7, RANKS))
    figures |= {"batch_ms": (time.process_time() - started) / 200 * 1e3, "memory_mb": peak_mb()}
    import torch  # noqa: F401  which a training holds besides

    return figures | {"torch_mb": peak_mb()}


def mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64: a 64-bit hash of each number (P,), so that sums of hashes tell multisets apart."""
    state = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@dataclass
class Epoch:
    """What all ranks together read in one epoch."""

    exact: bool
    samples_per_rank: tuple[int, int]  # least, most
    shards_per_rank: tuple[int, int]
    readers_per_shard: float


def whole_epoch(order: EpochOrder) -> Epoch:
    """Walks through the epoch slot by slot (a rank owns the slots of its residue), comparing hashes of what is read."""
    total, expected = 0, 0
    samples, per_rank, readers = np.zeros(RANKS, np.int64), [], np.zeros(SHARDS, np.int64)
    for rank in range(RANKS):
        touched = np.zeros(SHARDS, bool)
        for slot in range(rank, order.slots, RANKS):
            shards, inside = order.locate(np.arange(slot, order.length, order.slots))
            total += int(mixed(shards * SAMPLES + inside).sum(dtype=np.uint64))
            samples[rank] += len(shards)
            touched[shards] = True
        per_rank.append(int(touched.sum()))
        readers += touched
    for start in range(0, order.length, 1 << 20):
        expected += int(mixed(np.arange(start, min(order.length, start + (1 << 20)))).sum(dtype=np.uint64))
    return Epoch(
        bool((total - expected) % 2**64 == 0 and samples.sum() == order.length),
        (int(samples.min()), int(samples.max())),
        (min(per_rank), max(per_rank)),
        float(readers.mean()),
    )


def distance_from_uniform(shards: int, samples: int, mixing: Mixing, batch: int) -> tuple[float, float, float]:
    """Same-shard pairs in a batch, distance of neighbours on disk, correlation of places in two epochs.

    The first two as multiples of what a uniform permutation gives; the third is 0 for independent orders.
    """
    counts = np.full(shards, samples, np.int32)
    length = shards * samples
    orders = [EpochOrder(counts, mixing, seed=0, epoch=epoch) for epoch in (0, 1)]
    pairs, batches = 0.0, min(400, length // batch)
    for start in np.linspace(0, length - batch, batches).astype(int):
        _, repeats = np.unique(orders[0].locate(np.arange(start, start + batch))[0], return_counts=True)
        pairs += float((repeats * (repeats - 1)).sum()) / 2
    uniform_pairs = batches * batch * (batch - 1) / 2 * (samples - 1) / (length - 1)
    place = np.empty((2, length), np.int64)
    for row, order in zip(place, orders, strict=True):
        for start in range(0, length, 1 << 18):
            positions = np.arange(start, min(length, start + (1 << 18)))
            shard_numbers, inside = order.locate(positions)
            row[shard_numbers * samples + inside] = positions
    first = place[0].reshape(shards, samples)
    neighbours = np.abs(np.diff(first, axis=1)).mean() / (length / 3)
    correlation = np.asarray(np.corrcoef(place))  # (2, 2)
    return pairs / uniform_pairs, float(neighbours), float(correlation[0, 1])


SETTINGS = [
    ("furniture on a laptop", 8, 100, Mixing(64, 8), 16),
    ("a workstation", 100, 1000, Mixing(64, 8), 64),
    ("a node of 8", 1000, 1000, Mixing(64, 8), 256),
    ("16 nodes of 8", 4000, 1000, Mixing(1024, 4), 2048),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one-rank", metavar="FOLDER", help=argparse.SUPPRESS)
    if folder := parser.parse_args().one_rank:
        print(json.dumps(one_rank(folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        write_manifest(scratch, LATENT, {}, shard_entries(SHARDS))
        file_mb = Path(scratch, "manifest.json").stat().st_size / 1e6
        command = [sys.executable, __file__, "--one-rank", scratch]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(PROCESSES)]
    fresh = [json.loads(figures) for figures in runs]
    rank = {name: statistics.median(figures[name] for figures in fresh) for name in fresh[0]}
    started = time.perf_counter()
    epoch = whole_epoch(EpochOrder(np.full(SHARDS, SAMPLES, np.int32), MIXING, seed=0, epoch=2))
    lines = [
        "# The order of samples at the size of a cluster",
        "",
        "Written by `python benchmarks/stream_scale.py`: the manifest is real, no shard is read. What the order is: "
        "[data_format.md](data_format.md#the-order).",
        "",
        f"{RANKS:,} ranks × {WORKERS} workers, {PER_RANK} samples a rank and step, over {SHARDS:,} shards of "
        f"{SAMPLES:,} samples; "
        f"{MIXING.slots:,} slots, {MIXING.mix_shards} shards mixed at a time.",
        "",
        "| what | found | limit |",
        "|---|---|---|",
        f"| every sample of an epoch exactly once over all ranks (hashes of all {SHARDS * SAMPLES:,} compared) | "
        f"{'yes' if epoch.exact else 'NO'} | yes |",
        f"| samples a rank reads in an epoch, least … most | {epoch.samples_per_rank[0]:,} … "
        f"{epoch.samples_per_rank[1]:,} | "
        "equal in every step |",
        f"| shards a rank touches, least … most | {epoch.shards_per_rank[0]:,} … {epoch.shards_per_rank[1]:,} "
        f"(its share is {SHARDS / RANKS:,.0f}) | |",
        f"| ranks that read a shard, mean | {epoch.readers_per_shard:.2f} | |",
        f"| time to find the place of a resumed run (elapsed: {rank['elapsed_s']:.2f} s) | "
        f"{rank['resume_s']:.2f} s | 1 s |",
        f"| time to find the places of a batch after that | {rank['batch_ms']:.2f} ms | |",
        f"| before that: time to read the manifest, {file_mb:.0f} MB of JSON | {rank['manifest_s']:.1f} s | |",
        f"| peak memory of a rank's whole process, manifest, order, and {rank['libraries_mb']:.0f} MB of Python and "
        f"NumPy in it | {rank['memory_mb']:.0f} MB | 200 MB |",
        f"| … when the manifest was read | {rank['manifest_mb']:.0f} MB | |",
        f"| … with PyTorch, which every training holds besides | {rank['torch_mb']:.0f} MB | |",
        "",
        f"Times are processor seconds, times and memory medians of {PROCESSES} fresh processes.",
        "",
        "## How far from a uniform permutation",
        "",
        "Multiples of what a uniform permutation of all samples gives: 1 is uniform. Pairs of one shard in a batch "
        "tell whether batches are mixed; the distance of neighbours on disk, how far apart in the epoch samples of one "
        "shard come (near where only some shards are open at a time); the correlation of places in two epochs is 0 for "
        "independent orders.",
        "",
        "| setting | shards × samples | slots, shards mixed | batch | same-shard pairs | neighbours' distance "
        "| correlation |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, shards, samples, mixing, batch in SETTINGS:
        pairs, neighbours, correlation = distance_from_uniform(shards, samples, mixing, batch)
        lines.append(
            f"| {name} | {shards} × {samples} | {mixing.slots}, {mixing.mix_shards} | {batch} | {pairs:.2f} | "
            f"{neighbours:.2f} | {correlation:+.3f} |"
        )
    print("\n".join(lines))
    print(f"simulated in {time.perf_counter() - started:.0f} s")
    PAGE.write_text("\n".join(lines) + "\n")
    missed = [
        name
        for name, wrong in (
            ("not exact", not epoch.exact),
            ("ranks uneven", epoch.samples_per_rank[1] - epoch.samples_per_rank[0] > 8),
            ("resume takes more than 1 s", rank["resume_s"] > 1),
            ("memory above 200 MB", rank["memory_mb"] > 200),
        )
        if wrong
    ]
    print(missed[0] if missed else "ok")


if __name__ == "__main__":
    main()
