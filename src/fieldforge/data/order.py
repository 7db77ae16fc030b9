"""The order of samples: the infinite concatenation of per-epoch permutations, each a pure function of (seed, epoch).

One epoch is built in four steps, each computable for any position without the ones before it:

1. The shards are permuted; their samples, one shard after the other, form a line of E samples.
2. The line is cut into S equal *slots* (they differ by at most one sample). Where R divides S, a rank of R reads only
   the slots of its own residue, and so only its share of the shards.
3. The line is cut into *blocks* of about `mix_shards` shards, and each block is fully permuted. A block is a part of
   one slot, or, where slots are smaller than blocks, a whole number of neighbouring slots. An epoch that is no longer
   than one block is one uniform permutation.
4. Position p of the epoch is entry p // S of slot p mod S: neighbours in the stream come from different slots.

Slots are virtual readers: their number is part of the order and stays fixed when ranks, workers or batch size change.
(MosaicML Streaming's "canonical nodes" have the same purpose.)
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fieldforge.errors import UserError
from fieldforge.ranges import Count

SHARD_PERMUTATION, BLOCK_PERMUTATION = 0, 1  # tags that keep the two families of generators apart
KEPT_BYTES = 64 << 20  # of block permutations in memory


@dataclass(frozen=True)
class Mixing:
    """Mixing of an epoch: the number of virtual slots, and the number of shards whose samples are permuted together."""

    slots: Count = 64
    mix_shards: Count = 8

    def __post_init__(self) -> None:
        if self.slots < 1 or self.mix_shards < 1:
            raise UserError(f"data.mixing: slots={self.slots} and mix_shards={self.mix_shards} must be at least 1.")


class EpochOrder:
    """The permutation of one epoch over shards that hold `samples_per_shard (F,)` samples each."""

    def __init__(self, samples_per_shard: np.ndarray, mixing: Mixing, seed: int, epoch: int) -> None:
        self.seed, self.epoch = seed, epoch
        generator = np.random.default_rng([seed, epoch, SHARD_PERMUTATION])
        self.shard_order = generator.permutation(len(samples_per_shard)).astype(np.int32)  # (F,)
        self.shard_ends = np.cumsum(samples_per_shard[self.shard_order], dtype=np.int64)  # (F,)
        self.length = int(self.shard_ends[-1])
        self.slots = min(mixing.slots, self.length)
        block = max(1, self.length * mixing.mix_shards // len(samples_per_shard))
        slot_length = self.length / self.slots
        self.blocks_per_slot = max(1, round(slot_length / block))
        self.slots_per_block = min(self.slots, max(1, round(block / slot_length)))
        self._permutations: OrderedDict[int, np.ndarray] = OrderedDict()
        self._kept_bytes = 0

    def _slot_start(self, slot: np.ndarray | int) -> np.ndarray:
        """First place in the line of a slot: the first (length mod slots) slots are one sample longer."""
        short, longer = divmod(self.length, self.slots)
        return np.asarray(slot, np.int64) * short + np.minimum(slot, longer)

    def _block_of(self, slot: np.ndarray, entry: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number, first place and length of the blocks that hold entries `entry` of slots `slot` (all (P,))."""
        if self.slots_per_block > 1:
            number = slot // self.slots_per_block
            start = self._slot_start(number * self.slots_per_block)
            stop = self._slot_start(np.minimum((number + 1) * self.slots_per_block, self.slots))
            return number, start, stop - start
        first = self._slot_start(slot)
        size = self._slot_start(slot + 1) - first
        count = np.minimum(self.blocks_per_slot, size)
        part = ((entry + 1) * count - 1) // size  # the part whose bounds size * part // count enclose the entry
        low, high = size * part // count, size * (part + 1) // count
        return slot * self.blocks_per_slot + part, first + low, high - low

    def _permutation(self, block: int, length: int) -> np.ndarray:
        if block in self._permutations:
            self._permutations.move_to_end(block)
            return self._permutations[block]
        generator = np.random.default_rng([self.seed, self.epoch, BLOCK_PERMUTATION, block])
        permutation = generator.permutation(length).astype(np.int32)
        self._permutations[block] = permutation
        self._kept_bytes += permutation.nbytes
        while self._kept_bytes > KEPT_BYTES and len(self._permutations) > 1:
            self._kept_bytes -= self._permutations.popitem(last=False)[1].nbytes
        return permutation

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (P,) in [0, length) → number of the shard (P,) and of the sample in it (P,)."""
        slot, entry = positions % self.slots, positions // self.slots
        block, start, length = self._block_of(slot, entry)
        inside = self._slot_start(slot) + entry - start
        places = start.copy()
        borders = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(block)]  # of runs within one block
        for low, high in pairwise(borders):
            permutation = self._permutation(int(block[low]), int(length[low]))
            places[low:high] += permutation[inside[low:high]]
        line = np.searchsorted(self.shard_ends, places, side="right")
        before = np.where(line > 0, self.shard_ends[line - 1], 0)
        return self.shard_order[line].astype(np.int64), places - before


class Order:
    """The infinite order. Holds the tables of two epochs at most (a batch may straddle the border)."""

    def __init__(self, samples_per_shard: np.ndarray, mixing: Mixing, seed: int) -> None:
        if len(samples_per_shard) == 0 or samples_per_shard.min() < 1:
            raise UserError("the data hold no samples, or a shard without any; prepare them again.")
        self.samples_per_shard = samples_per_shard
        self.mixing, self.seed = mixing, seed
        self.epoch_length = int(samples_per_shard.sum(dtype=np.int64))
        self._epochs: dict[int, EpochOrder] = {}

    def epoch(self, number: int) -> EpochOrder:
        if number not in self._epochs:
            self._epochs = {other: order for other, order in self._epochs.items() if abs(other - number) == 1}
            self._epochs[number] = EpochOrder(self.samples_per_shard, self.mixing, self.seed, number)
        return self._epochs[number]

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Global positions (P,), counted over all epochs → number of the shard (P,) and of the sample in it (P,)."""
        shards, samples = np.empty(len(positions), np.int64), np.empty(len(positions), np.int64)
        epochs = positions // self.epoch_length
        for number in np.unique(epochs):
            mask = epochs == number
            place = self.epoch(int(number)).locate(positions[mask] - number * self.epoch_length)
            shards[mask], samples[mask] = place
        return shards, samples


def rank_positions(batch_start: int, batch_size: int, rank: int, world_size: int) -> np.ndarray:
    """Positions of one rank in the global batch [batch_start, batch_start + batch_size): those p with p mod R = rank.

    Every rank gets batch_size / R of them, wherever the batch starts, so a change of layout keeps residues and slots.
    """
    if batch_size % world_size:
        raise UserError(
            f"data.batch_size={batch_size} is the global batch and must be a multiple of the {world_size} ranks; "
            f"set it to {(batch_size // world_size + 1) * world_size}, say."
        )
    first = batch_start + (rank - batch_start) % world_size
    return np.arange(first, batch_start + batch_size, world_size)  # (batch_size / world_size,)
