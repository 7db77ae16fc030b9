"""Random numbers of rows, independent of the batch and the process that hold them: of training steps, of samplers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fieldforge.noise import counting


class RowRandomness:
    """Random numbers for rows that have numbers of their own: a row's are the same whatever rows come with it.

    They are a function of the stream's name, the row's number and how many draws came before: on a CPU as on a GPU,
    where they are computed.

    Args:
        name: of the stream; another one has other numbers.
        rows: whole numbers from 0, one for each of the B rows.
        device: of the numbers.
    """

    def __init__(self, name: str, rows: Sequence[int], device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self._name, self._draws = name, 0
        self._rows = (
            torch.arange(rows.start, rows.stop, rows.step, device=device)
            if isinstance(rows, range)  # what training steps have: nothing is copied to the device
            else torch.tensor([_small(row) for row in rows], device=device)
        )

    def __len__(self) -> int:
        return len(self._rows)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) in [0, 1)."""
        return counting.uniform(self._key(), self._places(math.prod(shape))).view(len(self), *shape)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal."""
        count = math.prod(shape)
        pairs = counting.normal_pairs(self._key(), self._places(-(-count // 2)))
        return torch.cat(pairs, 1)[:, :count].reshape(len(self), *shape)

    def _places(self, count: int) -> Tensor:
        """Places of `count` numbers in each row: (B, count)."""
        return self._rows[:, None] * count + torch.arange(count, device=self.device)

    def _key(self) -> int:
        """The key of the next draw."""
        self._draws += 1
        digest = hashlib.blake2b(f"{self._name}:{self._draws}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big")


def _small(row: int) -> int:
    """A number below 2⁴¹ for a row: places, which are products with it, must not wrap around."""
    if 0 <= row < 2**40:
        return row
    return 2**40 + int.from_bytes(hashlib.blake2b(str(row).encode(), digest_size=5).digest(), "big")


class StepRandomness(RowRandomness):
    """Random numbers for the samples of one process in one training step.

    Row i depends on (seed, step, slots[i]) and the number of earlier draws. So a resumed run draws the same numbers as
    an uninterrupted one, and any number of processes the same as one. The cost is proportional to the rows of the
    process.

    Args:
        seed, step: of the training.
        slots: places of this process's B samples in the global batch.
        batch_size: of the global batch, which `stratified` covers evenly.
        device: of the numbers.
        purpose: separates streams of numbers that belong to the same step (training, validation).
    """

    def __init__(
        self,
        seed: int,
        step: int,
        slots: Sequence[int],
        batch_size: int,
        device: torch.device | str = "cpu",
        purpose: str = "step",
    ):
        assert all(0 <= slot < batch_size for slot in slots), f"slots {slots} of a batch of {batch_size}"
        super().__init__(f"{purpose}:{seed}:{step}", slots, device)
        self.step, self.batch_size = step, batch_size

    def stratified(self) -> Tensor:
        """(B,) float64 in (0, 1); over the whole batch one from each of as many equal strata, in random order.

        On the CPU for a device that lacks float64.
        """
        slots = self._rows.cpu() if self.device.type == "mps" else self._rows
        jitter = counting.uniform_double(self._key(), slots)
        order = counting.bits(self._key(), torch.arange(self.batch_size, device=slots.device)).argsort()
        values = (order[slots] + jitter) / self.batch_size
        return values.clamp(1e-9, 1 - 1e-9)  # the ends have no quantile in most densities

    def choice(self, options: int) -> int:
        """One whole number in [0, options) for the whole batch, the same in every process."""
        return self._key() % options


Randomness = torch.Generator | RowRandomness
"""What random numbers are taken from: those of rows, or a plain generator where there are none."""


def uniform(shape: Sequence[int], randomness: Randomness) -> Tensor:
    """shape = (B, …) in [0, 1), on its device."""
    if isinstance(randomness, RowRandomness):
        assert shape[0] == len(randomness), f"{shape[0]} rows of a batch of {len(randomness)}"
        return randomness.uniform(*shape[1:])
    return torch.rand(tuple(shape), generator=randomness, device=randomness.device)


def normal(shape: Sequence[int], randomness: Randomness, dtype: torch.dtype = torch.float32) -> Tensor:
    """shape = (B, …), standard normal, on its device."""
    if isinstance(randomness, RowRandomness):
        assert shape[0] == len(randomness), f"{shape[0]} rows of a batch of {len(randomness)}"
        return randomness.normal(*shape[1:]).to(dtype)
    return torch.randn(tuple(shape), generator=randomness, device=randomness.device, dtype=dtype)


def choice(options: int, randomness: Randomness) -> int:
    """One whole number in [0, options) for all samples."""
    if isinstance(randomness, StepRandomness):
        return randomness.choice(options)
    assert isinstance(randomness, torch.Generator), "rows alone have no number in common"
    return int(torch.randint(options, (), generator=randomness, device=randomness.device))
