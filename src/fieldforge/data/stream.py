"""The exact stream: batches as a pure function of (seed, position), for every rank and worker."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from fieldforge.data.order import Mixing, Order, rank_positions
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import ShardSet
from fieldforge.data.transforms import Transform, apply_transforms
from fieldforge.errors import UserError
from fieldforge.storage.store import BadShardError

log = logging.getLogger(__name__)

TRAINING, VALIDATION, REPLACEMENT = 0, 1, 2  # tags that keep the families of generators apart
MOST_REPLACEMENTS = 1000  # samples tried for one place before the data as a whole are called unusable
Batch = dict[str, Any]


def collate(samples: Sequence[dict[str, Any]]) -> Batch:
    """Arrays are stacked into tensors along a new first axis; anything else becomes a list.

    UserError for arrays of different shapes.
    """
    return {
        name: torch.from_numpy(stacked(name, [sample[name] for sample in samples], samples))
        if isinstance(first, np.ndarray)
        else [sample[name] for sample in samples]
        for name, first in samples[0].items()
    }


def stacked(name: str, arrays: Sequence[np.ndarray], samples: Sequence[dict[str, Any]]) -> np.ndarray:
    """Stacks arrays of one shape."""
    for array, sample in zip(arrays, samples, strict=True):
        if array.shape != arrays[0].shape:
            which = [one.get("key") or one.get("meta", {}).get("id", "?") for one in (samples[0], sample)]
            raise UserError(
                f"data.root: samples have {name} of shapes {arrays[0].shape} and {array.shape} ({which[0]!r}, "
                f"{which[1]!r}) and fit no batch; prepare them alike."
            )
    return np.stack(arrays)


class SampleStream(IterableDataset):
    """Infinite batches of one rank, starting at `position` (samples trained so far, over all ranks and epochs).

    Batch k after `position` is the slice [position + k G, position + (k + 1) G) of the order, with the global batch
    size G = `batch_size`. In a DataLoader (`batch_size=None`) worker w of n makes batches w, w + n, …, and the loader's
    round robin restores their order. `on_bad_shard="skip"` replaces unusable samples by other samples of the epoch, a
    function of seed and position. Each process reports such a shard once and marks it in `damaged (F,)`, which all
    workers of a rank share. "error" raises.
    """

    def __init__(
        self,
        shards: ShardSet,
        transforms: Sequence[Transform],
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
        self.shards, self.transforms = shards, list(transforms)
        self.seed, self.batch_size, self.position = seed, batch_size, position
        self.rank, self.world_size = rank, world_size
        self.on_bad_shard = on_bad_shard
        self.order = Order(shards.samples_per_shard, mixing, seed)
        self.reader = ShardReader(shards)
        self.damaged = torch.zeros(len(shards), dtype=torch.bool).share_memory_()  # (F,)
        self._reported: set[int] = set()
        rank_positions(position, batch_size, rank, world_size)  # checks that the ranks share the batch evenly

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        return self.every(worker.num_workers, worker.id) if worker else self.every(1)

    def every(self, step: int, first: int = 0) -> Iterator[Batch]:
        """Batch number `first` from the position on, and each `step`-th after it, without end."""
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
        for candidate in self._candidates(position, shard, sample):
            generator = np.random.default_rng([self.seed, TRAINING, position])
            try:
                return apply_transforms(self.reader.read(*candidate), self.transforms, generator)
            except BadShardError as error:
                if self.on_bad_shard == "error":
                    raise
                self._report(candidate[0], error)
        raise UserError(
            f"data.root: {MOST_REPLACEMENTS} samples were drawn for one place, and none is usable; "
            "restore or prepare the shards again."
        )

    def _candidates(self, position: int, shard: int, sample: int) -> Iterator[tuple[int, int]]:
        """The sample of a position, then random samples of the same epoch, independent of earlier reads."""
        yield shard, sample
        generator = np.random.default_rng([self.seed, REPLACEMENT, position])
        epoch_start = position - position % self.order.epoch_length
        for place in generator.integers(self.order.epoch_length, size=MOST_REPLACEMENTS):
            location = self.order.locate(np.array([epoch_start + place]))
            yield int(location[0][0]), int(location[1][0])

    def _report(self, shard: int, error: BadShardError) -> None:
        if shard not in self._reported:
            self._reported.add(shard)
            self.damaged[shard] = True
            log.warning("skipped: %s", error)
