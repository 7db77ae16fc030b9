"""What a stage's time is spent on: steps, and all that interrupts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fieldforge.planning.cluster import Cluster
from fieldforge.planning.step_cost import StepCost


@dataclass(frozen=True)
class Charge:
    """An item of a bill: so many times, so many seconds each."""

    name: str
    times: int
    each: float

    @property
    def seconds(self) -> float:
        return self.times * self.each


@dataclass(frozen=True)
class Sheet:
    """A sheet of pictures that the first process draws: kernels of the networks, and number of pictures."""

    kernels: np.ndarray
    pictures: int

    def seconds(self, cluster: Cluster) -> float:
        return cluster.seconds(self.kernels) + self.pictures * cluster.picture_seconds


@dataclass(frozen=True)
class Pauses:
    """What interrupts the steps of a stage, and how often; None: never.

    Args:
        validate_every: steps between validations.
        heldout_batches: batches of a validation on each device; a part of one counts as such.
        sheet: what is drawn at intervals.
        picture_seconds: between two sheets.
        checkpoint_seconds, checkpoint_steps: between two checkpoints; there is one at the end besides.
    """

    validate_every: int | None = None
    heldout_batches: float = 0.0
    sheet: Sheet | None = None
    picture_seconds: float | None = None
    checkpoint_seconds: float | None = None
    checkpoint_steps: int | None = None

    def charges(self, cost: StepCost, cluster: Cluster, steps: int, step_seconds: float) -> list[Charge]:
        """The bill of so many steps. Intervals in minutes count steps and validations."""
        bill = [Charge("steps", steps, step_seconds)]
        if self.validate_every and self.heldout_batches:
            each = self.heldout_batches * cluster.seconds(cost.heldout) + cluster.seconds(cost.swap)
            bill.append(Charge("validation", steps // self.validate_every, each))
        running = sum(charge.seconds for charge in bill)
        if self.sheet is not None and self.picture_seconds is not None:
            bill.append(Charge("pictures", int(running / self.picture_seconds) + 1, self.sheet.seconds(cluster)))
        if self.checkpoint_seconds is not None:
            times = int(running / self.checkpoint_seconds) + 1
            times += steps // self.checkpoint_steps if self.checkpoint_steps else 0
            bill.append(Charge("checkpoints", times, checkpoint_seconds(cost, cluster)))
        return bill


def checkpoint_seconds(cost: StepCost, cluster: Cluster) -> float:
    """Seconds that a checkpoint holds the training up: the first process writes it, with FSDP each its share of it."""
    shares = cluster.world if cluster.strategy == "fsdp" else 1
    alone = cost.checkpoint / shares / cluster.checkpoint_bandwidth
    together = cost.checkpoint / cluster.store_bandwidth if shares > 1 else 0.0
    return max(alone, together) + cost.tensors * cluster.tensor_seconds


def total(charges: Sequence[Charge]) -> float:
    """Seconds of a bill."""
    return sum(charge.seconds for charge in charges)
