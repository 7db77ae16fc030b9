"""Where Hydra looks for plug-ins (a namespace package that others share): the door to `fieldforge.sweeps`.

Hydra imports this at every start of every entry point, so that nothing heavy is imported before a sweep begins.
"""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FieldforgeSweeper(Sweeper):
    """Runs `python train.py -m …`: grids and searches, resumable, with a table at the end."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> Any:
        from fieldforge.sweeps.hydra_sweep import sweep

        return sweep(self, arguments)
