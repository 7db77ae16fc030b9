"""Hardware settings, and Lightning's trainer for all stages."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from fieldforge.data import loader_workers
from fieldforge.errors import UserError
from fieldforge.nn.arithmetic import compile_blocks, needs_compiler, products
from fieldforge.nn.blocks import Stack
from fieldforge.ranges import Count, Positive
from fieldforge.training.processes import interruption, launchers, ranks
from fieldforge.training.processes.checkpoints import AtomicCheckpointIO
from fieldforge.training.processes.launch import Launched, processes
from fieldforge.training.processes.precision import best_matmul, best_precision
from fieldforge.training.processes.strategies import Replicated, Sharded
from fieldforge.training.settings import Matmul


@dataclass(frozen=True)
class Hardware:
    """Hardware and precision of a training; no setting is meant to change the result.

    Args:
        accelerator, devices, num_nodes: as Lightning's trainer names them; devices are the processes of each node.
        strategy: "ddp": each process has the whole model; "fsdp": each has a shard; "auto": ddp for several processes.
        precision: one of Lightning's, or "auto": bf16-mixed where bfloat16 is the faster one, else 32-true.
        matmul: `torch.set_float32_matmul_precision` for operations in float32; "auto": medium or highest, likewise.
        accumulate: gradient accumulation: number of batches of a step; the global batch stays the same.
        checkpointing: activation checkpointing: recompute transformer blocks in the backward pass.
        compile: compile transformer blocks with torch.compile.
        deterministic: use kernels without races on a GPU, so that equal runs are equal bit for bit there, as on a CPU.
        max_hours: hours after its start at which this process saves and exits; None: no limit.
        requeue: put an unfinished Slurm job back into its queue.
        timeout_minutes: time limit for waiting for another process's tensors.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: Count | Literal["auto"] = 1
    num_nodes: Count = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: str = "auto"
    matmul: Matmul = "auto"
    accumulate: Count = 1
    checkpointing: bool = False
    compile: bool = False
    deterministic: bool = False
    max_hours: Positive | None = None
    requeue: bool = True
    timeout_minutes: Positive = 30.0

    def __post_init__(self) -> None:
        if self.strategy not in ("auto", "ddp", "fsdp"):
            raise UserError(f"trainer.strategy={self.strategy}: give auto, ddp or fsdp")
        if self.accumulate < 1:
            raise UserError(f"trainer.accumulate={self.accumulate}: a step is made of at least 1 batch")
        if self.precision in ("16", "16-mixed"):
            raise UserError(
                f"trainer.precision={self.precision}: steps are not guarded in it, give bf16-mixed or 32-true"
            )
        if self.max_hours is not None and self.max_hours <= 0:
            raise UserError(f"trainer.max_hours={self.max_hours}: give a positive number, or null for no limit")

    @property
    def gpu(self) -> bool:
        return self.accelerator in ("gpu", "cuda") or (self.accelerator == "auto" and torch.cuda.is_available())

    @property
    def device(self) -> torch.device:
        """The device of this process, for its work outside of the trainer's steps. UserError where it is not there."""
        if not self.gpu:
            return torch.device("mps" if self.accelerator == "mps" else "cpu")
        if not torch.cuda.is_available():
            raise UserError(f"trainer.accelerator={self.accelerator}: torch finds no GPU here, give cpu")
        return torch.device("cuda", torch.cuda.current_device())

    @property
    def processes_per_node(self) -> int:
        if isinstance(self.devices, int):
            return self.devices
        if self.devices == "auto":
            place = launchers.started()
            if place is not None:
                return max(1, place.size // self.num_nodes)
            return max(1, torch.cuda.device_count()) if self.gpu else 1
        raise UserError(f"trainer.devices={self.devices}: give a number of processes, or auto: one on each GPU")

    @contextmanager
    def processes(self, command: Callable[[], list[str]]) -> Iterator[None]:
        """Inside this context all processes are connected; `command` starts those that no launcher has started."""
        with processes(self.processes_per_node, self.num_nodes, self.gpu, command, self.timeout_minutes):
            yield

    def share(self, batch_size: int) -> int:
        """Size of one accumulated batch of a step. UserError if the processes cannot share it evenly."""
        parts = self.processes_per_node * self.num_nodes * self.accumulate
        if batch_size % parts:
            raise UserError(
                f"batch_size={batch_size} is that of a whole step and must be a multiple of the {parts} parts that "
                f"trainer.devices, num_nodes and accumulate make: {(batch_size // parts + 1) * parts}, say"
            )
        return batch_size // self.accumulate

    def prepare(self, module: pl.LightningModule) -> None:
        """Apply the hardware's options to the networks: activation checkpointing, compilation."""
        for part in module.modules():
            if isinstance(part, Stack) and self.checkpointing:
                part.checkpointing = True
        if self.compile:
            compile_blocks(module)

    @contextmanager
    def products(self) -> Iterator[None]:
        """Set `matmul` during training alone: latents that the same process encodes must not depend on it."""
        with products(best_matmul(self.gpu) if self.matmul == "auto" else self.matmul):
            yield

    def trainer(
        self, max_steps: int, callbacks: list[pl.Callback], loggers: list[Any], root: Path, **options: Any
    ) -> pl.Trainer:
        """A trainer without Lightning's own checkpoints, signals, clipping, schedule and data order."""
        _quieten()
        devices = self.processes_per_node
        several = devices * self.num_nodes > 1
        strategy: Any = {"auto": Replicated, "ddp": Replicated, "fsdp": Sharded}[self.strategy]() if several else "auto"
        if several and self.gpu and torch.cuda.device_count() == 1:  # each process sees one, its own
            strategy.parallel_devices, devices = [torch.device("cuda", 0)] * devices, 1
        environment = Launched() if several else LightningEnvironment()  # others would put handlers for signals
        try:
            return pl.Trainer(
                accelerator=self.accelerator,
                devices=devices,
                num_nodes=self.num_nodes,
                strategy=strategy,
                precision=best_precision(self.gpu) if self.precision == "auto" else self.precision,  # type: ignore[arg-type]
                max_steps=max_steps,
                max_epochs=-1,
                callbacks=callbacks,
                logger=loggers or False,
                default_root_dir=root,
                plugins=[AtomicCheckpointIO(), environment],
                accumulate_grad_batches=self.accumulate,
                use_distributed_sampler=False,
                deterministic=self.deterministic or None,
                enable_checkpointing=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                check_val_every_n_epoch=None,
                **options,
            )
        except (ValueError, MisconfigurationException) as error:
            reason = str(error).split("\n")[0].rstrip(".")
            raise UserError(f"this machine and the trainer settings do not fit ({reason}): change trainer.*") from error


def best_device(name: str = "auto") -> str:
    """The device for sampling and evaluation: the named device, or with "auto" a GPU if there is one.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()  # "meta" makes tensors, but they hold nothing
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={name} is not usable here ({reason}): give cpu or auto") from error
    return name


def fit(trainer: pl.Trainer, module: pl.LightningModule, data: Any, resume_from: Path | None) -> None:
    """Train until the budget is spent.

    Raises:
        Interrupted: a signal stopped it; the state is saved.
        Unfinished: a data worker was killed.
    """
    try:
        with loader_workers.none_left(), needs_compiler("trainer.compile"):
            trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    except SystemExit as error:  # Lightning's answer to a second Ctrl-C
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        if lost := loader_workers.loss_of_worker(error):
            raise lost from error
        if "does not have a deterministic implementation" in str(error):
            kernel = str(error).split(" does not")[0]
            raise UserError(
                f"trainer.deterministic=true: {kernel} has only kernels with races here: set it to false"
            ) from error
        raise
    finally:
        interruption.release_ctrl_c()
    if ranks.agree_to_stop():
        raise interruption.Interrupted(interruption.noted())


def _quieten() -> None:
    """Silence Lightning's warnings about intended choices."""
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
        ".*`srun` command is available.*",
        ".*has `__len__` defined.*",
        ".*You have overridden `on_before_batch_transfer` in `LightningModule`.*",
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
    ):
        warnings.filterwarnings("ignore", message=message)
