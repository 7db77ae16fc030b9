"""A cluster, a stage and an encoding whose costs are round numbers."""

from fieldforge.planning.cluster import Cluster
from fieldforge.planning.collectives import Links
from fieldforge.planning.encoding_plan import EncodingPlan
from fieldforge.planning.estimate import DataSide, StagePlan
from fieldforge.planning.kernels import table
from fieldforge.planning.step_cost import StepCost

NO_TIME = 1e30  # bytes a second


def cost(**changes) -> StepCost:
    """1e12 operations and 1e9 bytes a step, of which the backward pass is the second half."""
    values = {
        "parts": {"model.backbone": 10},
        "trained": 10,
        "kernels": table((5e11, 5e8), (5e11, 5e8)),
        "backward": slice(1, 2),
        "heldout": table((1e12, 0)),
        "swap": table((0, 1e12)),
        "parameters": 40,
        "gradients": 40,
        "optimizer": 80,
        "average": 40,
        "activations": 100,
        "checkpointed": 50,
        "validation": 60,
        "block": 8,
        "blocks": 2,
        "tensors": 4,
        "outside_blocks": 8,
    }
    return StepCost(**{**values, **changes})


def cluster(nodes: int = 2, devices: int = 4, links: dict[str, float] | None = None, **changes) -> Cluster:
    """Two nodes of four devices: 5e13 operations a second each, 1e12 bytes; links and files take no time."""
    fast = dict.fromkeys(("bandwidth", "node_bandwidth"), NO_TIME) | dict.fromkeys(("latency", "node_latency"), 0.0)
    values = {
        "links": Links(nodes, devices, **{**fast, **(links or {})}),
        "peak_flops": 1e14,
        "float32_flops": 2.5e9,
        "utilisation": 0.5,
        "convolution_utilisation": 0.5,
        "float32_convolution_utilisation": 0.5,
        "tile": 1,
        "multiprocessors": 1,
        "bandwidth": 1e12,
        "launch_seconds": 1e-6,
        "store_bandwidth": NO_TIME,
        "checkpoint_bandwidth": NO_TIME,
        "tensor_seconds": 0.0,
        "picture_seconds": 0.0,
        "precision": "bf16-mixed",
        "kind": "GPU",
        "strategy": "ddp",
    }
    return Cluster(**{**values, **changes})


def stage(**changes) -> StagePlan:
    values = {"name": "diffusion", "cost": cost(), "batch_size": 16, "batch_size_setting": 16, "max_steps": 432_000,
              "max_minutes": None, "min_steps": 0,
              "data": DataSide(shards=64, samples=1000, slots=64, workers=2)}  # fmt: skip
    return StagePlan(**{**values, **changes})


def encoding(**changes) -> EncodingPlan:
    """1e9 operations a sample, eight at a time, dealt one by one."""
    values = {
        "name": "latents",
        "kernels": table((8e9, 0)),
        "batch_size": 8,
        "samples": 800,
        "part": 1,
        "read": None,
        "written": 0,
        "memory": 0,
    }
    return EncodingPlan(**{**values, **changes})
