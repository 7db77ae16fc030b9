"""What grows with the number of ranks: the stream, checkpoints, the exchange of a step; for 1 to 1,024 ranks.

    python benchmarks/ranks.py      # prints a table of docs/planning.md

One process on this machine does what one rank of so many does, for all that a rank does alone: opening the stream and
finding its first batch, writing its file of a checkpoint, opening the files of all ranks. Messages between ranks are
computed from latency and bandwidth (`planning.collectives`), with the defaults of `plan`: eight A100s a node. Seconds
are those of the processor, medians; bytes are counted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from stream_scale import shard_entries

from fieldforge.configuration.build import build
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.order import Mixing, Order, rank_positions
from fieldforge.data.shards import open_shards
from fieldforge.planning.collectives import Links
from fieldforge.planning.settings import PlanSettings
from fieldforge.runs.entry import CONFIGS
from fieldforge.training.processes.checkpoints import FORMAT, load_safely, save_atomically
from fieldforge.training.processes.sharded_state import _ROWS, file_name, read_folder

RANKS = (1, 8, 64, 256, 1024)
SHARDS, SAMPLES, PER_RANK = 1_000, 1_000, 16
TENSORS, ROWS, WIDTH = 10, 1024, 640  # of a model; a checkpoint has four of each: weights, average, two moments
PARAMETERS, BLOCKS = 300_000_000, 24  # of the model whose messages are computed


def median_of(work: Callable[[], Any], times: int = 3) -> float:
    costs = []
    for _ in range(times):
        start = time.process_time()
        work()
        costs.append(time.process_time() - start)
    return statistics.median(costs)


def stream(folder: str, ranks: int) -> dict[str, float]:
    """Of the last rank: seconds to open the stream and find the first batch, bytes that it holds, its requests."""
    batch = ranks * PER_RANK
    mixing = Mixing(slots=max(64, ranks), mix_shards=4)

    def opened() -> tuple[Any, Order]:
        shards = open_shards(folder, "train")
        order = Order(shards.samples_per_shard, mixing, seed=0)
        order.locate(rank_positions(0, batch, ranks - 1, ranks))
        return shards, order

    seconds = median_of(opened)
    tracemalloc.start()
    held = opened()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    touched, _ = held[1].locate(rank_positions(0, batch, ranks - 1, ranks))
    indexes = len(set(touched.tolist()))
    return {
        "seconds": seconds,
        "bytes": size,
        "requests": 1 + 2 * indexes + PER_RANK,
    }  # sizes and indexes, then samples


def share(rank: int, ranks: int) -> dict[str, Any]:
    """The content of a rank's file of a checkpoint."""
    rows = -(-ROWS // ranks)
    tensor = lambda: {_ROWS: torch.rand(rows, WIDTH), "start": rank * rows, "shape": [ROWS, WIDTH]}  # noqa: E731
    state = {f"block.{n // 10}.layer.{n % 10}.weight": [tensor() for _ in range(4)] for n in range(TENSORS)}
    return {"fieldforge": {"format": FORMAT, "step": 1}, "state": state}


def checkpoint(folder: Path, ranks: int) -> dict[str, float]:
    """Seconds in which a rank writes its file, and opens those of all; bytes of all files."""
    folder.mkdir()
    first = share(0, ranks)
    write = median_of(lambda: save_atomically(first, folder / file_name(0, ranks)))
    for rank in range(1, ranks):
        torch.save(share(rank, ranks), folder / file_name(rank, ranks))  # as above, without waiting for the disk
    size = sum(file.stat().st_size for file in folder.iterdir())
    opens = median_of(lambda: read_folder(folder, lambda file: load_safely(file, mmap=True)), 1)
    return {"write": write, "size": size, "open": opens}


def links_of(settings: PlanSettings, ranks: int) -> Links:
    devices = min(8, ranks)
    own = settings.link_bandwidth, settings.link_latency, settings.node_bandwidth, settings.node_latency
    return Links(ranks // devices, devices, *own)


def messages(links: Links) -> dict[str, float]:
    """Seconds of the messages of a step, and of an agreement, which is an all-reduce of some bytes."""
    gradients, block = 4 * PARAMETERS, PARAMETERS / BLOCKS
    return {
        "ring": links.ring(gradients),
        "tree": links.tree(gradients),
        "buckets": links.buckets(gradients),
        "gather": 2 * BLOCKS * links.turn(2 * block),
        "scatter": BLOCKS * links.turn(4 * block),
        "agree": links.all_reduce(8),
    }


def milli(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = build(compose("train", ["experiment=shape_latent"]), "plan")
    lines: dict[str, list[str]] = {}

    def add(name: str, value: str) -> None:
        lines.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory() as scratch:
        write_manifest(scratch, LATENT, {}, shard_entries(SHARDS))
        for ranks in RANKS:
            opened = stream(scratch, ranks)
            add("stream: a rank opens it and finds its first batch (measured)", milli(opened["seconds"]))
            add("stream: a rank holds of manifest and order (measured)", f"{opened['bytes'] / 1e3:.0f} kB")
            add("stream: requests for the first batch, of all ranks (counted)", f"{ranks * opened['requests']:,.0f}")
            print(f"{ranks:,} ranks: the stream is opened", file=sys.stderr)
            with tempfile.TemporaryDirectory() as place:
                saved = checkpoint(Path(place) / "step.ckpt", ranks)
            add("FSDP checkpoint: files, folders (counted)", f"{ranks:,}, 1")
            add("FSDP checkpoint: all files (measured)", f"{saved['size'] / 1e6:.0f} MB")
            add("FSDP checkpoint: a rank writes its file (measured)", milli(saved["write"]))
            add("FSDP checkpoint: a rank opens all files when it resumes (measured)", milli(saved["open"]))
            whole = 16 * PARAMETERS
            alone = whole / settings.checkpoint_bandwidth
            add("DDP checkpoint of 300 M parameters, one file (computed)", f"{alone:.1f} s")
            spread = max(alone / ranks, whole / settings.store_bandwidth)
            add("FSDP checkpoint of 300 M parameters (computed)", f"{spread:.2g} s")
            found = messages(links_of(settings, ranks))
            add("DDP: all-reduce of 1.2 GB of gradients as one message, ring (computed)", milli(found["ring"]))
            add("… tree (computed)", milli(found["tree"]))
            add("… in buckets of 25 MiB, by the faster one (computed)", milli(found["buckets"]))
            add("FSDP: gathers of 24 blocks, twice, in bfloat16 (computed)", milli(found["gather"]))
            add("FSDP: reduce-scatter of their gradients (computed)", milli(found["scatter"]))
            add("agreement on stops, once a second (computed)", milli(found["agree"]))
    print(f"| | {' | '.join(f'{ranks:,}' for ranks in RANKS)} |\n|{'---|' * (1 + len(RANKS))}")
    for name, values in lines.items():
        print(f"| {name} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
