"""The time of a step: arithmetic, exchange between devices, reading."""

from __future__ import annotations

from dataclasses import dataclass

from fieldforge.planning.cluster import Cluster
from fieldforge.planning.collectives import BUCKET
from fieldforge.planning.step_cost import StepCost


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step.

    compute: of the kernels. exchange: of all messages between devices. exposed: the part of it that the kernels wait
    for. reading: of the samples from the store, while the devices compute.
    """

    compute: float
    exchange: float
    exposed: float
    reading: float

    @property
    def seconds(self) -> float:
        """Of the whole: the devices and the store work at the same time, and the slower one counts."""
        return max(self.compute + self.exposed, self.reading)

    @property
    def reads_too_slowly(self) -> bool:
        """Whether the devices wait for the store."""
        return self.reading > self.compute + self.exposed


def step_time(cost: StepCost, cluster: Cluster, accumulate: int, size: float) -> StepTime:
    """The time of a step of `accumulate` batches of `cost`, which reads `size` bytes over all devices."""
    exchange, exposed = (_sharded if cluster.strategy == "fsdp" else _replicated)(cost, cluster, accumulate)
    compute = cluster.seconds(cost.kernels) * accumulate
    return StepTime(compute, exchange, exposed, size / cluster.store_bandwidth)


def _replicated(cost: StepCost, cluster: Cluster, accumulate: int) -> tuple[float, float]:
    """Exchange of DDP, and what of it is exposed.

    Buckets of gradients are reduced once a step, during the last backward pass, one after the other, as soon as they
    are complete. The last bucket is complete when the pass ends (Li et al. 2020, arXiv 2006.15704, section 3.2).
    """
    if cluster.world == 1:
        return 0.0, 0.0
    whole, last = cluster.links.buckets(cost.gradients), cluster.links.all_reduce(min(cost.gradients, BUCKET))
    hidden = cluster.seconds(cost.kernels[cost.backward])
    return whole, max(whole - hidden, last)


def _sharded(cost: StepCost, cluster: Cluster, accumulate: int) -> tuple[float, float]:
    """Exchange of FSDP, and what of it is exposed.

    Each batch gathers every block for the forward and for the backward pass, in bfloat16 under mixed precision, and
    reduces its gradients in float32; the rest of the model likewise, in float32. Messages of a block go while another
    one computes (Zhao et al. 2023, arXiv 2304.11277, section 3.3); the first gather and the last reduction do not.
    """
    if cluster.world == 1:
        return 0.0, 0.0
    turn, narrow = cluster.links.turn, 0.5 if "bf16" in cluster.precision else 1.0
    rest = turn(cost.outside_blocks)
    a_batch = cost.blocks * (2 * turn(narrow * cost.block) + turn(cost.block)) + 3 * rest
    hidden = cluster.seconds(cost.kernels[: cost.backward.stop])
    return accumulate * a_batch, accumulate * max(a_batch - hidden, 2 * rest)
