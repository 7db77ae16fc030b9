"""Launcher, rank and world size of this process, from the environment variables of torchrun, srun, mpirun and jsrun.

Variables that contradict each other, left over from elsewhere, are refused: a training would wait for processes that no
launcher has started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from fieldforge.errors import UserError

# launcher: how many processes, which one of them, which one of its node
_TORCH = ("torchrun", "WORLD_SIZE", "RANK", "LOCAL_RANK")
_OTHERS = (
    ("srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ("srun", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ("mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("mpirun", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
    ("mpirun", "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),
    ("jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK"),
)
_OF_LIBRARIES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


@dataclass(frozen=True)
class Place:
    """Rank of this process among those of its launcher. `local_rank`: None where the launcher does not set it."""

    launcher: str
    size: int
    rank: int
    local_rank: int | None
    evidence: str  # the variable that tells the size, as it stands in the environment


def started() -> Place | None:
    """This process's place; None where no launcher has started it.

    Raises:
        UserError: the environment says only a part of it, or what cannot be.
    """
    _, size, rank, local_rank = _TORCH
    present = [name for name in (size, rank, local_rank) if os.environ.get(name)]
    if {size, rank} <= set(present):
        return _place(*_TORCH)
    if [name for name in present if os.environ[name] != ("1" if name == size else "0")]:
        [missing, *_] = [name for name in (rank, size) if name not in present]
        values = " and ".join(f"{name}={os.environ[name]}" for name in present)
        raise UserError(f"the environment has {values} without {missing}: unset it, or start with torchrun or srun")
    for launcher, size, rank, local_rank in _OTHERS:
        if os.environ.get(size) and os.environ.get(rank) and not (launcher == "srun" and _beside_srun()):
            return _place(launcher, size, rank, local_rank)
    return None


def check_ranks() -> None:
    """Check the rank variables, before imports of libraries that parse them. Empty variables are removed.

    Raises:
        UserError: one is not a number.
    """
    for name in _OF_LIBRARIES:
        if os.environ.get(name):
            with _known_to_this_process_alone():
                number(name)
        else:
            os.environ.pop(name, None)


def check_alone() -> None:
    """Check that a single-process command runs alone: several would all write the same files at once.

    Raises:
        UserError: a launcher has started several.
    """
    place = started()
    if place is not None and place.size > 1:
        raise UserError(
            f"{place.launcher} has started this command as {place.size} processes ({place.evidence}), and it is one: "
            "only train.py shares its work among processes; start it once, without the launcher"
        )


def number(name: str, below: int | None = None, least: int = 0) -> int:
    """The whole number in a variable of the environment. UserError for something else."""
    text = os.environ[name]
    if not text.isdecimal() or int(text) < least or (below is not None and int(text) >= below):
        limits = f"a whole number from {least}" + ("" if below is None else f" to {below - 1}")
        raise UserError(f"{name}={text} in the environment is not {limits}: correct it, or unset it")
    return int(text)


def _place(launcher: str, size: str, rank: str, local_rank: str) -> Place:
    with _known_to_this_process_alone():
        total = number(size, least=1)
        local = number(local_rank) if os.environ.get(local_rank) else None
        return Place(launcher, total, number(rank, below=total), local, f"{size}={total}")


@contextlib.contextmanager
def _known_to_this_process_alone() -> Iterator[None]:
    """An error in the rank, reported by every process: the first process, which reports for all, is unknown."""
    try:
        yield
    except UserError as error:
        error.everywhere = False
        raise


def _beside_srun() -> bool:
    """Whether this process runs in a Slurm job but not under srun: in a batch script or an interactive shell."""
    if os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return True
    in_a_step = "SLURM_STEP_ID" in os.environ or "SLURM_STEP_NUM_TASKS" in os.environ
    return not in_a_step and os.environ.get("ENVIRONMENT") == "BATCH"
