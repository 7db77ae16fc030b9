"""Estimates from the cost of a step: devices, days and shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fieldforge.planning.bill import Charge, Pauses, total
from fieldforge.planning.cluster import SECONDS_A_DAY, Cluster
from fieldforge.planning.encoding_plan import EncodingPlan
from fieldforge.planning.step_cost import StepCost, memory_ddp, memory_fsdp
from fieldforge.planning.step_time import StepTime, step_time
from fieldforge.terminal import quantity

NOTHING = Pauses()
"""Steps that nothing interrupts."""


@dataclass(frozen=True)
class DataSide:
    """A stage's data: shards and samples of the training split (None: unknown), virtual slots, readers per rank.

    sample_bytes: that a sample takes in the store; None: unknown, and not counted. block: of its settings.
    """

    shards: int | None
    samples: int | None
    slots: int
    workers: int
    sample_bytes: float | None = None
    block: str = "data"

    def readers(self, world: int) -> int:
        return world * max(1, self.workers)


@dataclass(frozen=True)
class StagePlan:
    """A stage that takes steps: global batch, steps until the budget is spent (None minutes: steps alone count)."""

    name: str
    cost: StepCost
    batch_size: int
    batch_size_setting: int
    max_steps: int
    max_minutes: float | None
    min_steps: int
    data: DataSide
    notes: tuple[str, ...] = ()
    accumulate: int = 1  # batches of `cost` that a step is made of
    pauses: Pauses = NOTHING
    statistics: EncodingPlan | None = None  # of latents, measured when the training ends

    @property
    def operations(self) -> int:
        """Floating-point operations of one device in a step."""
        return self.cost.operations * self.accumulate

    @property
    def step_bytes(self) -> float:
        """Bytes that a step reads over all devices."""
        return self.batch_size * (self.data.sample_bytes or 0)

    def step_time(self, cluster: Cluster) -> StepTime:
        return step_time(self.cost, cluster, self.accumulate, self.step_bytes)

    def step_seconds(self, cluster: Cluster) -> float:
        return self.step_time(cluster).seconds

    def utilisation(self, cluster: Cluster) -> float:
        """The share of the devices' peak performance that a step reaches."""
        return self.operations / (self.step_seconds(cluster) * cluster.peak_flops)

    def samples_a_day(self, cluster: Cluster) -> float:
        return self.batch_size / self.step_seconds(cluster) * SECONDS_A_DAY

    def steps(self, cluster: Cluster) -> int:
        """Steps until the budget's steps or minutes are spent; its minutes count all that interrupts the steps."""
        if self.max_minutes is None:
            return self.max_steps
        whole = total(self.pauses.charges(self.cost, cluster, self.max_steps, self.step_seconds(cluster)))
        share = min(1.0, 60 * self.max_minutes / whole)
        return max(int(self.max_steps * share), min(self.min_steps, self.max_steps))

    def charges(self, cluster: Cluster) -> list[Charge]:
        """The stage's bill."""
        bill = self.pauses.charges(self.cost, cluster, self.steps(cluster), self.step_seconds(cluster))
        statistics = None if self.statistics is None else self.statistics.charge(cluster)
        return bill if statistics is None else [*bill, statistics]

    def seconds(self, cluster: Cluster) -> float:
        return total(self.charges(cluster))

    def days(self, cluster: Cluster) -> float:
        """Days of the stage's bill."""
        return self.seconds(cluster) / SECONDS_A_DAY

    def warnings(self, cluster: Cluster) -> list[str]:
        sentences = []
        if self.batch_size_setting != self.batch_size:
            parts = cluster.world * self.accumulate
            sentences.append(
                f"training.{self.name}.batch_size={self.batch_size_setting} is no multiple of the {parts} parts that "
                f"devices and trainer.accumulate make, training would refuse it; planned with {self.batch_size}"
            )
        readers, data = self.data.readers(cluster.world), self.data
        if data.shards is not None and data.shards < readers:
            sentences.append(
                f"{quantity(data.shards, 'shard')} for {quantity(readers, 'reader')}: several "
                f"read the same shard; prepare smaller shards"
            )
        if data.slots < cluster.world:
            sentences.append(
                f"{data.block}.mixing.slots={data.slots} for {cluster.world} ranks: every rank reads all shards; "
                f"give at least {cluster.world}, before the training starts"
            )
        elif data.slots % cluster.world:
            sentences.append(
                f"{data.block}.mixing.slots={data.slots} is no multiple of the {cluster.world} ranks: they share shards"
            )
        if self.data.sample_bytes is not None and self.step_time(cluster).reads_too_slowly:
            sentences.append(
                f"by plan.store_bandwidth={cluster.store_bandwidth:g} the store sets the pace: give the rate of yours "
                "(with data.cache= that of the nodes' disks, once the shards are there)"
            )
        return sentences

    def plain(self, cluster: Cluster) -> dict[str, Any]:
        """All numbers as plain values for programs: bytes, seconds, days."""
        cost = self.cost
        layouts: Mapping[str, dict[str, int]] = {
            "ddp": memory_ddp(cost, cluster.world),
            "fsdp": memory_fsdp(cost, cluster.world),
        }
        return {
            "parameters": dict(cost.parts),
            "trained_parameters": cost.trained,
            "batch_size": self.batch_size,
            "operations_a_step": self.operations * cluster.world,
            "operations_a_device": self.operations,
            "memory": {name: {**rows, "in all": sum(rows.values())} for name, rows in layouts.items()},
            "activations_checkpointed": cost.checkpointed,
            "step_seconds": self.step_seconds(cluster),
            "step_time": vars(self.step_time(cluster)),
            "bill": {one.name: {"times": one.times, "seconds_each": one.each} for one in self.charges(cluster)},
            "bytes_a_step": self.step_bytes,
            "bytes_a_checkpoint": cost.checkpoint,
            "utilisation": self.utilisation(cluster),
            "samples_a_day": self.samples_a_day(cluster),
            "days": self.days(cluster),
            "max_steps": self.max_steps,
            "steps": self.steps(cluster),
            "shards": self.data.shards,
            "samples": self.data.samples,
            "readers": self.data.readers(cluster.world),
            "warnings": self.warnings(cluster),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Plan:
    """All stages of an experiment on a cluster."""

    experiment: str
    cluster: Cluster
    stages: tuple[StagePlan | EncodingPlan, ...]

    def plain(self) -> dict[str, Any]:
        return {
            "experiment": self.experiment,
            "cluster": {**vars(self.cluster), "links": vars(self.cluster.links), "world": self.cluster.world},
            "stages": {stage.name: stage.plain(self.cluster) for stage in self.stages},
            "days": self.days,
            "device_hours": self.device_hours,
            "price": self.price,
        }

    @property
    def days(self) -> float | None:
        """Days of all stages in sequence; None where those of one stage are unknown."""
        days = [stage.days(self.cluster) for stage in self.stages]
        return sum(day for day in days if day is not None) if None not in days else None

    @property
    def unknown(self) -> list[str]:
        """Names of the stages whose days are unknown."""
        return [stage.name for stage in self.stages if stage.days(self.cluster) is None]

    @property
    def device_hours(self) -> float | None:
        """Hours of all devices together; None where the days are unknown."""
        return None if self.days is None else 24 * self.days * self.cluster.world

    @property
    def price(self) -> float | None:
        """Of all device hours; None where these, or the price of one, are unknown."""
        hours, each = self.device_hours, self.cluster.price_an_hour
        return None if hours is None or each is None else hours * each
