"""The time that processes take to exchange tensors, by latency and bandwidth of their links.

The α-β model: a message of n bytes takes α + n / β seconds. Counts of messages are those of Thakur, Rabenseifner and
Gropp 2005, "Optimization of collective communication operations in MPICH"; the ring sends no more bytes than any
algorithm has to (Patarasuk and Yuan 2009). NCCL chooses between ring and tree by such a model (its `tuning.cc`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BUCKET = 25 * 2**20  # bytes that DistributedDataParallel reduces at a time


@dataclass(frozen=True)
class Links:
    """The links between the devices of a training.

    Args:
        nodes, devices: number of nodes, and of devices in each.
        bandwidth, latency: of a device's link to other nodes: bytes a second in one direction, seconds of a message.
        node_bandwidth, node_latency: of its link to the other devices of its node.
    """

    nodes: int
    devices: int
    bandwidth: float
    latency: float
    node_bandwidth: float
    node_latency: float

    @property
    def world(self) -> int:
        return self.nodes * self.devices

    @property
    def slowest(self) -> float:
        """Bytes a second of the slowest link in a ring through all devices."""
        return self.node_bandwidth if self.nodes == 1 else min(self.bandwidth, self.node_bandwidth)

    def turn(self, size: float) -> float:
        """Seconds until parts of `size` bytes have gone once round the ring: an all-gather, or a reduce-scatter."""
        latency = (self.world - self.nodes) * self.node_latency + (self.nodes - 1) * self.latency
        return latency + size * (self.world - 1) / self.world / self.slowest if self.world > 1 else 0.0

    def ring(self, size: float) -> float:
        """Seconds of an all-reduce of `size` bytes by a ring: a reduce-scatter and an all-gather."""
        return 2 * self.turn(size)

    def tree(self, size: float) -> float:
        """Seconds of an all-reduce by a pipelined tree over nodes, with a chain in each node: up and down."""
        hops = math.ceil(math.log2(self.nodes))
        latency = 2 * ((self.devices - 1) * self.node_latency + hops * self.latency)
        return latency + 2 * size / self.slowest if self.world > 1 else 0.0

    def all_reduce(self, size: float) -> float:
        """Seconds of an all-reduce by the faster one of both."""
        return min(self.ring(size), self.tree(size))

    def buckets(self, size: float) -> float:
        """Seconds in which DistributedDataParallel reduces gradients of `size` bytes, bucket by bucket."""
        whole, rest = divmod(size, BUCKET)
        return whole * self.all_reduce(BUCKET) + (self.all_reduce(rest) if rest else 0.0)
