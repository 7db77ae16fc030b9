"""Warning for a model whose training ended within the warm-up."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldforge.training.callbacks.budget import Budget

log = logging.getLogger(__name__)


def training_label(budget: Budget, steps: int, has_start: bool) -> dict[str, Any]:
    """The training's entry in a finished model's label.

    Args:
        budget: of the stage.
        steps: number of steps taken.
        has_start: whether it started from the trained weights of another model.
    """
    return {"steps": steps, "untrained": budget.short(steps) and not has_start}


def warn_if_untrained(label: Mapping[str, Any], run: Path) -> None:
    """Log a warning for the model of `label`, and for its autoencoder, if the training hardly left the warm-up.

    Args:
        label: of a finished model, in the directory `run`.
    """
    for part in (label, label.get("autoencoder")):
        if isinstance(part, Mapping) and part.get("untrained") is True:
            stage, steps = part.get("stage"), part.get("steps")
            budget = f"training.{stage}.budget"
            log.warning(
                f"warning: {run}: its {stage} is as good as untrained, its training ended at step {steps}, within "
                "or just after the warm-up: expect rubble. Train it on by its command with continue_from= this run "
                f"and a larger {budget}.max_minutes or max_steps, or anew with {budget}.min_steps"
            )
