"""The context of a training that its callbacks read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger

from fieldforge.rendering.gallery import Exhibit
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.budget import BudgetCallback
from fieldforge.training.callbacks.gradient_guard import GradientGuard

Draw = Callable[[pl.LightningModule, Path], Sequence[Exhibit]]
"""Writes a picture of what a model makes, and returns the samples on it."""


@dataclass(frozen=True)
class Sampling:
    """Which samples are measured during training.

    Args:
        count: how many.
        steps, scale, at_a_time: of a diffusion model: sampler steps, guidance scale, batch size.
        split: "heldout" or "train"; where nothing is held out the training split.
        resolution: of the outputs; None: the domain's.
    """

    count: int
    steps: int
    scale: float
    at_a_time: int
    split: str = "heldout"
    resolution: int | None = None


class Measure(Protocol):
    """Measures a module's samples: numbers by the names in `metrics/measures.py`, NaN for those that do not apply."""

    def prepare(self, sampling: Sampling) -> None:
        """Prepares before the first step. UserError for missing parts."""

    def __call__(self, module: pl.LightningModule, sampling: Sampling) -> dict[str, float]:
        """The module has its averaged weights."""
        ...


@dataclass(frozen=True)
class TrainingContext:
    """A training of one stage.

    Args:
        stage: its name.
        run: the directory of its run.
        fingerprint: of what determines the result.
        config: all settings, as plain values.
        batch_size: samples of a step over all processes.
        clock: keeps the budget and the time spent.
        ema: holds the averaged weights.
        guard: skips steps and counts them.
        draw: draws the stage's pictures, with its own random generators; None where the stage draws nothing.
        measure: measures the stage's samples, likewise; None where the stage measures none.
        place: the stage's number in the training, such as "stage 2 of 3"; empty for a single stage.
    """

    stage: str
    run: Path
    fingerprint: str
    config: Mapping[str, Any]
    batch_size: int
    clock: BudgetCallback
    ema: EMACallback
    guard: GradientGuard
    draw: Draw | None = None
    measure: Measure | None = None
    place: str = ""

    @property
    def title(self) -> str:
        """The stage's name in progress lines."""
        return f"{self.place}, {self.stage}" if self.place else self.stage

    @property
    def checkpoints(self) -> Path:
        """Folder of the states to resume from."""
        return self.run / "checkpoints"

    @property
    def pictures(self) -> Path:
        """Folder of the stage's pictures."""
        return self.run / "pictures"

    @property
    def label(self) -> dict[str, Any]:
        """Plain values that a checkpoint carries."""
        return {"stage": self.stage, "fingerprint": self.fingerprint, "config": self.config}


@runtime_checkable
class LoggerChoice(Protocol):
    """Settings of a logger that goes with a training."""

    def begin(self, context: TrainingContext) -> Logger:
        """The logger of this training, or of the one that it goes on with."""
        ...


class Watcher(pl.Callback):
    """A callback with the `context` of its training, set before the first step."""

    context: TrainingContext

    def watch(self, context: TrainingContext) -> None:
        """Called once, when all callbacks are built."""
        self.context = context
