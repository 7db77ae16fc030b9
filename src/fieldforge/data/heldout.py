"""Finite passes over a split, in stored order, with the same points and rays in each pass."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import ShardSet
from fieldforge.data.stream import VALIDATION, Batch, collate
from fieldforge.data.transforms import Transform, apply_transforms


class NumberedSamples(IterableDataset):
    """Batches of samples that are chosen by their number in a split."""

    def __init__(self, shards: ShardSet, transforms: Sequence[Transform], seed: int) -> None:
        self.shards, self.transforms, self.seed = shards, list(transforms), seed
        self.reader = ShardReader(shards)

    @abstractmethod
    def groups(self) -> Sequence[np.ndarray]:
        """Numbers of the samples of each batch."""

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for numbers in self.groups()[first::step]:
            if len(numbers):
                yield collate([self._sample(int(number)) for number in numbers])

    def _sample(self, number: int) -> dict:
        generator = np.random.default_rng([self.seed, VALIDATION, number])
        return apply_transforms(self.reader.read_number(number), self.transforms, generator)


class HeldOut(NumberedSamples):
    """Batches of about `batch_size` (per rank) over all samples of `shards`; sample i belongs to rank i mod R.

    All ranks give the same number of batches, so that no rank waits for another. Batch sizes differ by at most one:
    some batches hold one sample more than `batch_size` where the ranks cannot share evenly. With fewer samples than
    ranks each rank has one sample, and some ranks share it. `limit` takes the first samples only.
    """

    def __init__(
        self,
        shards: ShardSet,
        transforms: Sequence[Transform],
        *,
        seed: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        limit: int | None = None,
    ) -> None:
        super().__init__(shards, transforms, seed)
        self.samples = shards.samples if limit is None else min(limit, shards.samples)
        first = rank if rank < self.samples else rank % max(1, self.samples)
        self.numbers = np.arange(first, self.samples, world_size)
        most, least = -(-self.samples // world_size), self.samples // world_size
        self.batches = max(1, min(-(-most // batch_size), least))

    def __len__(self) -> int:
        return self.batches

    def groups(self) -> Sequence[np.ndarray]:
        return np.array_split(self.numbers, self.batches)


class Spans(NumberedSamples):
    """Runs of samples first … last - 1, one after the other, in batches of `batch_size`; the last of a run is smaller.

    The batch of a sample depends on its run alone: what an encoder makes of it is the same whoever reads the others.
    """

    def __init__(
        self,
        shards: ShardSet,
        transforms: Sequence[Transform],
        *,
        seed: int,
        batch_size: int,
        spans: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__(shards, transforms, seed)
        self.batch_size, self.spans = batch_size, list(spans)

    def groups(self) -> Sequence[np.ndarray]:
        return [
            np.arange(start, min(start + self.batch_size, last))
            for first, last in self.spans
            for start in range(first, last, self.batch_size)
        ]
