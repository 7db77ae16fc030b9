"""The GPU of a process: the one of its local rank, or the only one that its launcher makes visible."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import torch

from fieldforge.errors import UserError
from fieldforge.training.processes import ranks

_CHOSEN = "FIELDFORGE_GPUS_OF_JOB"


def of_process(local_rank: int, devices: int) -> int:
    """Index of the GPU of one of `devices` processes of a node.

    Where a launcher makes a single GPU visible to each process (`srun --gpus-per-task=1`), the index is 0 in all of
    them.

    Raises:
        UserError: there are more processes than GPUs.
    """
    visible = torch.cuda.device_count()
    if local_rank < visible:
        return local_rank
    if visible == 1:
        return 0  # `check_own` finds out whether it is another one in each process
    raise too_few(devices, visible)


def too_few(devices: int, visible: int) -> UserError:
    return UserError(
        f"trainer.devices={devices} wants a GPU for each process, but {visible} can be seen on {socket.gethostname()}: "
        f"give trainer.devices={max(1, visible)}, or trainer.accelerator=cpu"
    )


def check_own(index: int) -> None:
    """A collective. UserError if two processes have the same GPU."""
    unique = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    if unique is not None:
        refuse_shared(ranks.of_all(f"{socket.gethostname()} {unique}"))


def refuse_shared(gpus: Sequence[str]) -> None:
    """`gpus`: host and unique name, by rank. UserError if two are the same."""
    for rank, gpu in enumerate(gpus):
        first = gpus.index(gpu)
        if first != rank:
            raise UserError(
                f"processes {first} and {rank} of this training share a GPU of {gpu.split()[0]}: start as many as "
                "there are GPUs, or let the launcher give each its own (srun --gpus-per-task=1)"
            )


def spread(job: int, devices: int) -> None:
    """Restrict this process, one of several trainings on a machine, to its share of the GPUs: that of job 0, 1, 2, …

    Call it before CUDA is used. A process keeps its share for later trainings.
    """
    count = torch.cuda.device_count()
    groups = count // devices
    if groups < 2 or torch.cuda.is_initialized() or _CHOSEN in os.environ:
        return
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = listed.split(",")[:count] if listed else [str(index) for index in range(count)]
    first = job % groups * devices
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(visible[first : first + devices])
    os.environ[_CHOSEN] = str(job)
