"""The exact stream: batches as a pure function of (seed, position), for every rank and worker."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from fieldforge.data.order import Mixing, Order, rank_positions
from fieldforge.data.reader import LazySample, ShardReader
from fieldforge.data.shards import ShardSet
from fieldforge.data.stages import Stage, apply_stages
from fieldforge.data.store import BadShardError
from fieldforge.errors import UserError

log = logging.getLogger(__name__)

TRAINING, VALIDATION, REPLACEMENT = 0, 1, 2  # tags that keep the families of generators apart
Batch = dict[str, Any]


def collate(samples: Sequence[dict[str, Any]]) -> Batch:
    """Arrays are stacked into tensors along a new first axis; anything else becomes a list."""
    return {
        name: torch.from_numpy(np.stack([sample[name] for sample in samples]))
        if isinstance(first, np.ndarray)
        else [sample[name] for sample in samples]
        for name, first in samples[0].items()
    }


class SampleStream(IterableDataset):
    """Infinite batches of one rank, starting at `position` (samples trained so far, over all ranks and epochs).

    Batch k after `position` is the slice [position + k G, position + (k + 1) G) of the order, G = `batch_size`, the
    global batch. In a DataLoader (`batch_size=None`) worker w of n makes batches w, w + n, …, and the loader's round
    robin restores their order.
    `on_bad_shard="skip"` puts other samples of the epoch in the place of those of a shard that is unusable, reports
    the shard once and counts it in `bad_shards`; "error" raises.
    """

    def __init__(
        self,
        shards: ShardSet,
        stages: Sequence[Stage],
        *,
        seed: int,
        batch_size: int,
        mixing: Mixing,
        position: int = 0,
        rank: int = 0,
        world_size: int = 1,
        on_bad_shard: str = "error",
    ) -> None:
        if on_bad_shard not in ("error", "skip"):
            raise UserError(f"data.on_bad_shard={on_bad_shard}: set it to 'error' or 'skip'.")
        self.shards, self.stages = shards, list(stages)
        self.seed, self.batch_size, self.position = seed, batch_size, position
        self.rank, self.world_size = rank, world_size
        self.on_bad_shard = on_bad_shard
        self.order = Order(shards.samples_per_shard, mixing, seed)
        self.reader = ShardReader(shards)
        self.bad_shards: dict[int, str] = {}
        rank_positions(position, batch_size, rank, world_size)  # checks that the ranks share the batch evenly

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        start = self.position + first * self.batch_size
        upcoming = self._locate(start)
        while True:
            positions, shards, samples = upcoming
            following = start + step * self.batch_size
            upcoming = self._locate(following)
            self.reader.read_ahead(upcoming[1], upcoming[2])
            batch = collate(
                [
                    self._sample(int(position), int(shard), int(sample))
                    for position, shard, sample in zip(positions, shards, samples, strict=True)
                ]
            )
            yield batch
            start = following

    def _locate(self, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        positions = rank_positions(start, self.batch_size, self.rank, self.world_size)
        return positions, *self.order.locate(positions)

    def _sample(self, position: int, shard: int, sample: int) -> dict[str, Any]:
        generator = np.random.default_rng([self.seed, TRAINING, position])
        return apply_stages(self._read(position, shard, sample), self.stages, generator)

    def _read(self, position: int, shard: int, sample: int) -> LazySample:
        """The sample at a place; if its shard is unusable and skipped, one at a random place of the same epoch."""
        replacement: np.random.Generator | None = None
        while True:
            if shard not in self.bad_shards:
                try:
                    return self.reader.read(shard, sample)
                except BadShardError as error:
                    if self.on_bad_shard == "error":
                        raise
                    self.bad_shards[shard] = str(error)
                    log.warning("skipped shard %d of this run: %s", len(self.bad_shards), error)
            if len(self.bad_shards) == len(self.shards):
                raise UserError(f"every shard is unusable; the last one: {self.bad_shards[shard]}")
            replacement = replacement or np.random.default_rng([self.seed, REPLACEMENT, position])
            place = position - position % self.order.epoch_length
            place += int(replacement.integers(self.order.epoch_length))
            shard, sample = (int(found[0]) for found in self.order.locate(np.array([place])))
