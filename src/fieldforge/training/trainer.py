"""Lightning's trainer as all stages use it."""

from __future__ import annotations

import logging
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from fieldforge.errors import UserError
from fieldforge.training import interruption
from fieldforge.training.checkpointing import AtomicCheckpointIO


@dataclass(frozen=True)
class Hardware:
    """Where and in which precision to train; nothing in here is meant to change what is learned.

    Args:
        accelerator, devices, num_nodes, strategy: as Lightning's trainer names them.
        precision: one of Lightning's, or "auto": bf16-mixed where the hardware multiplies in bfloat16, else 32-true.
        matmul: `torch.set_float32_matmul_precision` for what stays in float32.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "auto"
    matmul: str = "medium"

    @contextmanager
    def products(self) -> Iterator[None]:
        """`matmul` for as long as training lasts: latents encoded by the same process must not depend on it."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def trainer(
        self, max_steps: int, callbacks: list[pl.Callback], loggers: list[Any], root: Path, **options: Any
    ) -> pl.Trainer:
        """A trainer that leaves checkpoints, signals, clipping, schedule and data order to this project."""
        _quieten()
        plugins: list[Any] = [AtomicCheckpointIO()]
        if SLURMEnvironment.detect():
            plugins.append(SLURMEnvironment(auto_requeue=False))
        try:
            return pl.Trainer(
                accelerator=self.accelerator,
                devices=self.devices,
                num_nodes=self.num_nodes,
                strategy=self.strategy,
                precision=best_precision() if self.precision == "auto" else self.precision,  # type: ignore[arg-type]
                max_steps=max_steps,
                max_epochs=-1,
                callbacks=callbacks,
                logger=loggers or False,
                default_root_dir=root,
                plugins=plugins,
                use_distributed_sampler=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                check_val_every_n_epoch=None,
                **options,
            )
        except (ValueError, MisconfigurationException) as error:
            reason = str(error).split("\n")[0].rstrip(".")
            raise UserError(f"this machine and the trainer settings do not fit ({reason}): change trainer.*") from error


def best_precision() -> str:
    """bf16-mixed where the hardware multiplies bfloat16 matrices (AMX tiles, or a GPU that has it), else 32-true."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    if platform.machine() in ("x86_64", "AMD64") and torch.cpu._is_amx_tile_supported():
        return "bf16-mixed"
    return "32-true"


def best_device(wanted: str = "auto") -> str:
    """The device to sample and evaluate on: what is wanted, or with "auto" a GPU where there is one.

    Raises:
        UserError: there is no such device here.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={wanted} is not usable here ({reason}): give cpu or auto") from error
    return wanted


def fit(trainer: pl.Trainer, module: pl.LightningModule, data: Any, resume_from: Path | None) -> None:
    """Train until the budget is spent.

    Raises:
        Interrupted: a signal stopped it; the state is saved.
    """
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    except SystemExit as error:  # Lightning's answer to a second Ctrl-C
        raise KeyboardInterrupt from error
    finally:
        interruption.release_ctrl_c()
    stopped_by = interruption.noted()
    if stopped_by is not None:
        raise interruption.Interrupted(stopped_by)


def _quieten() -> None:
    """Silence what Lightning says about choices made on purpose."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*no attribute `val_dataloader`.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*in eval mode at the start of training.*",
        ".*`training_step` returned `None`.*",
        ".*ended before the epoch ended.*",
        ".*LeafSpec.*",
        ".*has `__len__` defined.*",
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
    ):
        warnings.filterwarnings("ignore", message=message)
