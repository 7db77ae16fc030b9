"""The random numbers of a training step: one row for each sample, independent of the process that holds the sample."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from fieldforge.noise.densities import stratified_uniform


class StepRandomness:
    """Random numbers for the samples of one process in one step.

    Row i is a function of (seed, step, slots[i]) and the number of earlier draws, and of nothing else. So it does not
    depend on the number of processes, and a resumed run draws the same numbers as an uninterrupted one. The cost is
    proportional to the rows of the process.

    Args:
        seed, step: of the training.
        slots: places of this process's B samples in the global batch.
        batch_size: of the global batch, which `stratified` covers evenly.
        device: where rows are drawn; a CPU and a GPU draw different numbers.
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
        self.step, self.slots, self.batch_size, self.device = step, list(slots), batch_size, torch.device(device)
        self._rows = [_generator(f"{purpose}:{seed}:{step}:{slot}", self.device) for slot in self.slots]
        self._shared = _generator(f"{purpose}:{seed}:{step}:all", "cpu")

    def __len__(self) -> int:
        return len(self.slots)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=row, device=self.device) for row in self._rows])

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal."""
        return torch.stack([torch.randn(shape, generator=row, device=self.device) for row in self._rows])

    def stratified(self) -> Tensor:
        """(B,) float64 in (0, 1), on the CPU; over the whole batch one from each of as many equal strata."""
        return stratified_uniform(self.batch_size, self._shared)[self.slots]

    def choice(self, options: int) -> int:
        """One whole number in [0, options) for the whole batch, the same in every process."""
        return int(torch.randint(options, (), generator=self._shared))


Randomness = torch.Generator | StepRandomness
"""What random numbers are taken from: a training step's, or a plain generator where there is no such step."""


def uniform(shape: Sequence[int], randomness: Randomness) -> Tensor:
    """shape = (B, …) in [0, 1), on its device."""
    if isinstance(randomness, StepRandomness):
        assert shape[0] == len(randomness), f"{shape[0]} rows of a batch of {len(randomness)}"
        return randomness.uniform(*shape[1:])
    return torch.rand(tuple(shape), generator=randomness, device=randomness.device)


def normal(shape: Sequence[int], randomness: Randomness) -> Tensor:
    """shape = (B, …), standard normal, on its device."""
    if isinstance(randomness, StepRandomness):
        assert shape[0] == len(randomness), f"{shape[0]} rows of a batch of {len(randomness)}"
        return randomness.normal(*shape[1:])
    return torch.randn(tuple(shape), generator=randomness, device=randomness.device)


def choice(options: int, randomness: Randomness) -> int:
    """One whole number in [0, options) for all samples."""
    if isinstance(randomness, StepRandomness):
        return randomness.choice(options)
    return int(torch.randint(options, (), generator=randomness, device=randomness.device))


def _generator(name: str, device: torch.device | str) -> torch.Generator:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest, "big") >> 1)
