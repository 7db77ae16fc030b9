"""Callbacks by which a training meets a mishap."""

import errno
import multiprocessing
import os
import signal
import time

import pytorch_lightning as pl

from fieldforge.errors import UserError


class Mishap(pl.Callback):
    """In the middle of a step, in the process of this rank: what `kind` says."""

    def __init__(self, kind: str, step: int = 2, rank: int = 0):
        self.kind, self.step, self.rank = kind, step, rank

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: object) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            getattr(self, self.kind)()

    def bug(self) -> None:
        raise ZeroDivisionError("a bug")

    def mistake(self) -> None:
        raise UserError("the thing is wrong: mend it")

    def full(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    def terminated(self) -> None:
        os.killpg(0, signal.SIGTERM)

    def hung_up(self) -> None:
        os.killpg(0, signal.SIGHUP)

    def ctrl_c_twice(self) -> None:
        os.killpg(0, signal.SIGINT)
        os.killpg(0, signal.SIGINT)

    def killed_worker(self) -> None:
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)  # type: ignore[arg-type]
        time.sleep(1)

    def killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
