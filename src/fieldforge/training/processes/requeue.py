"""Requeues an unfinished Slurm job."""

from __future__ import annotations

import logging
import os
import re
import subprocess

log = logging.getLogger(__name__)


def job() -> str | None:
    """The id of this process's job for scontrol; None outside of Slurm."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def requeue() -> bool:
    """Ask Slurm to requeue this process's job; returns whether it will.

    A job cancelled by its user is not requeued, though Slurm would accept it (its state is COMPLETING while processes
    exit). Slurm's refusal is a warning.
    """
    name = job()
    if name is None:
        return False
    state = re.search(r"JobState=(\w+)", _scontrol("show", "job", "-o", name)[1])
    if state and state[1] != "RUNNING":
        log.info("job %s is %s: not put back into the queue", name, state[1].lower())
        return False
    accepted, output = _scontrol("requeue", name)
    if accepted:
        log.info("job %s: put back into the queue", name)
    else:
        log.warning("warning: Slurm did not put job %s back into the queue (%s)", name, output or "it did not say why")
    return accepted


def _scontrol(*arguments: str) -> tuple[bool, str]:
    try:
        result = subprocess.run(
            ["scontrol", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,  # signals to this process's group are not meant for it
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    if result.returncode == 0:
        return True, result.stdout
    return False, " ".join(result.stderr.split())
