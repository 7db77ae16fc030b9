"""The plan of what a frozen network computes once for every sample: latents, their statistics, features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fieldforge.planning.bill import Charge
from fieldforge.planning.cluster import SECONDS_A_DAY, Cluster


@dataclass(frozen=True)
class EncodingPlan:
    """Encoding of every sample once, in float32, dealt to all devices.

    Args:
        name: of what is made.
        kernels: of a batch (`planning.kernels`).
        batch_size: samples of a batch on a device.
        samples: of all splits; None: not known.
        part: samples that are dealt to a device at a time.
        read, written: bytes of a sample; None: not known, and not counted.
        memory: peak bytes of a device: the network and a batch.
    """

    name: str
    kernels: np.ndarray
    batch_size: int
    samples: int | None
    part: int
    read: float | None
    written: float
    memory: int

    @property
    def operations(self) -> float:
        """Floating-point operations of a sample."""
        return float(self.kernels[:, 0].sum()) / self.batch_size

    def own(self, world: int) -> int:
        """Samples of the device that has most."""
        assert self.samples is not None
        parts = -(-self.samples // self.part)
        return min(self.samples, -(-parts // world) * self.part)

    def charge(self, cluster: Cluster) -> Charge | None:
        """Its time: a device reads while it computes, and writes afterwards; None where it is not known."""
        if self.samples is None:
            return None
        own = self.own(cluster.world)
        compute = own / self.batch_size * cluster.seconds(self.kernels, float32=True)
        reading = self.samples * (self.read or 0) / cluster.store_bandwidth
        alone, together = own / cluster.checkpoint_bandwidth, self.samples / cluster.store_bandwidth
        return Charge(self.name, 1, max(compute, reading) + self.written * max(alone, together))

    def seconds(self, cluster: Cluster) -> float | None:
        charge = self.charge(cluster)
        return None if charge is None else charge.seconds

    def days(self, cluster: Cluster) -> float | None:
        """Days of the encoding; None where the number of samples is unknown."""
        seconds = self.seconds(cluster)
        return None if seconds is None else seconds / SECONDS_A_DAY

    def plain(self, cluster: Cluster) -> dict[str, Any]:
        """All numbers as plain values for programs."""
        return {
            "operations_a_sample": self.operations,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "bytes_read_a_sample": self.read,
            "bytes_written_a_sample": self.written,
            "memory": self.memory,
            "days": self.days(cluster),
        }
