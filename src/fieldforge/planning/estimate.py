"""Estimates from the cost of a step: devices, days and shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldforge.planning.step import StepCost
from fieldforge.terminal import quantity

SECONDS_A_DAY = 86400


@dataclass(frozen=True)
class Cluster:
    """The hardware of a training.

    Args:
        nodes, devices: number of nodes, and of devices in each.
        peak_flops: floating-point operations per second of one device, in the precision of the training.
        utilisation: the share of `peak_flops` that matrix products reach, 0 … 1.
        bandwidth: memory bandwidth of a device in bytes per second.
        launch_seconds: minimal duration of a kernel, as the host launches kernels one after the other.
        float32_flops: as `peak_flops`, in float32.
        precision: its name.
        kind: "GPU" or "CPU".
    """

    nodes: int
    devices: int
    peak_flops: float
    utilisation: float
    bandwidth: float
    launch_seconds: float
    float32_flops: float
    precision: str
    kind: str

    @property
    def world(self) -> int:
        return self.nodes * self.devices

    def seconds(self, kernels: np.ndarray) -> float:
        """That kernels (K, 2: operations, bytes) take: each is held back by arithmetic or by memory (Williams et al.
        2009, the roofline), and all of them by the host that launches them."""
        arithmetic = kernels[:, 0] / (self.peak_flops * self.utilisation)
        on_device = np.maximum(arithmetic, kernels[:, 1] / self.bandwidth).sum()
        return float(max(on_device, len(kernels) * self.launch_seconds))


def memory_ddp(cost: StepCost, world: int) -> dict[str, int]:
    """Bytes on each device with DDP: each holds the whole model; several devices exchange gradients through buckets.

    `validation` is the additional memory of a validation beyond the activations of a step.
    """
    return {
        "parameters": cost.parameters,
        "gradients": cost.gradients,
        "exchange": cost.gradients if world > 1 else 0,
        "optimiser": cost.optimizer,
        "moving average": cost.average,
        "activations": cost.activations,
        "validation": max(0, cost.validation - cost.activations),
    }


def memory_fsdp(cost: StepCost, world: int) -> dict[str, int]:
    """Bytes on each device with FSDP: parameters, gradients, optimiser and average are sharded over all devices.

    Gathered at a time are the parameters outside of transformer blocks, and two blocks (the current and the next one),
    once as weights and once as gradients. During validation the saved training weights are sharded as well.
    """
    share = lambda size: -(-size // world)  # noqa: E731
    gathered = 2 * (cost.outside_blocks + 2 * cost.block)
    aside = cost.validation - cost.parameters + share(cost.parameters)
    return {
        "parameters": share(cost.parameters),
        "gradients": share(cost.gradients),
        "exchange": gathered,
        "optimiser": share(cost.optimizer),
        "moving average": share(cost.average),
        "activations": cost.activations,
        "validation": max(0, aside - cost.activations),
    }


@dataclass(frozen=True)
class DataSide:
    """A stage's data: shards and samples of the training split (None: unknown), virtual slots, readers per rank."""

    shards: int | None
    samples: int | None
    slots: int
    workers: int

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

    @property
    def operations(self) -> int:
        """Floating-point operations of one device in a step."""
        return self.cost.operations * self.accumulate

    def step_seconds(self, cluster: Cluster) -> float:
        return cluster.seconds(self.cost.kernels) * self.accumulate

    def utilisation(self, cluster: Cluster) -> float:
        """The share of the devices' peak performance that a step reaches."""
        return self.operations / (self.step_seconds(cluster) * cluster.peak_flops)

    def samples_a_day(self, cluster: Cluster) -> float:
        return self.batch_size / self.step_seconds(cluster) * SECONDS_A_DAY

    def days(self, cluster: Cluster) -> float:
        """Days until the budget's steps or minutes are spent."""
        a_step = self.step_seconds(cluster) / SECONDS_A_DAY
        days = self.max_steps * a_step
        if self.max_minutes is None:
            return days
        return min(days, max(self.max_minutes / (24 * 60), self.min_steps * a_step))

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
                f"mixing.slots={data.slots} for {cluster.world} ranks: every rank reads all shards; "
                f"give at least {cluster.world}, before the training starts"
            )
        elif data.slots % cluster.world:
            sentences.append(
                f"mixing.slots={data.slots} is no multiple of the {cluster.world} ranks: they share shards"
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
            "utilisation": self.utilisation(cluster),
            "samples_a_day": self.samples_a_day(cluster),
            "days": self.days(cluster),
            "max_steps": self.max_steps,
            "shards": self.data.shards,
            "samples": self.data.samples,
            "readers": self.data.readers(cluster.world),
            "warnings": self.warnings(cluster),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class EncodingPlan:
    """The plan of encoding every sample once, in float32, shared over all devices."""

    operations: int  # a sample
    samples: int | None
    name: str = "latents"

    def plain(self, cluster: Cluster) -> dict[str, Any]:
        return {"operations_a_sample": self.operations, "samples": self.samples, "days": self.days(cluster)}

    def days(self, cluster: Cluster) -> float | None:
        """Days of the encoding; None where the number of samples is unknown."""
        speed = cluster.world * cluster.float32_flops * cluster.utilisation
        return None if self.samples is None else self.operations * self.samples / speed / SECONDS_A_DAY


@dataclass(frozen=True)
class Plan:
    """All stages of an experiment on a cluster."""

    experiment: str
    cluster: Cluster
    stages: tuple[StagePlan | EncodingPlan, ...]

    def plain(self) -> dict[str, Any]:
        return {
            "experiment": self.experiment,
            "cluster": {**vars(self.cluster), "world": self.cluster.world},
            "stages": {stage.name: stage.plain(self.cluster) for stage in self.stages},
            "days": self.days,
        }

    @property
    def days(self) -> float | None:
        """Days of all stages in sequence; None where those of one stage are unknown."""
        days = [stage.days(self.cluster) for stage in self.stages]
        return sum(day for day in days if day is not None) if None not in days else None
