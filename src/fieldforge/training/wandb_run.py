"""Weights & Biases, opt-in: a training never fails for want of an account."""

from __future__ import annotations

import netrc
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pytorch_lightning.loggers import WandbLogger


def wandb_logger(directory: Path, run_id: str, project: str = "fieldforge", **options: Any) -> WandbLogger:
    """A logger whose run has the id of ours, so that a resumed training goes on in the same one.

    Without a key it writes offline below `directory`; `wandb sync` sends that later.
    """
    offline = not _has_key()
    directory.mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        project=project,
        id=run_id,
        name=run_id,
        save_dir=str(directory),
        offline=offline,
        resume=None if offline else "allow",
        log_model=False,
        **options,
    )


def finish() -> None:
    """End the current run, if there is one; else the next training of this process would write into it."""
    wandb = sys.modules.get("wandb")  # importing it takes seconds, and a logger has done so if there is one
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
