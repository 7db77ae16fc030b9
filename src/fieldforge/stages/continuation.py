"""Continued training: a new run with a larger budget starts from the last checkpoint of a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError
from fieldforge.stages.directory import MODEL, StageDirectory
from fieldforge.stages.fingerprint import differences, fingerprint
from fieldforge.terminal import duration, quantity
from fieldforge.training.processes.checkpoints import find_last, read_checkpoint

SCRATCH = "scratch"
KEY = "continued_from"
"""In what determines a run: the fingerprint of the one that it went on from."""


def stage_directory(
    choice: str | None, stage: str, parent: Path, determining: Mapping[str, Any], budget: Any, trial: bool
) -> StageDirectory:
    """The directory of a stage, which starts from the run in `continue_from` if that is a run of this stage.

    Args:
        choice: the value of `continue_from`.
        stage: its kind.
        parent: folder of its runs.
        determining: all values that determine the result.
        budget: steps and minutes.
        trial: whether a sweep composed the configuration; a trial starts afresh.

    Raises:
        UserError: the earlier run differs in more than its budget, or has already spent this budget.
    """
    if choice is None or choice == SCRATCH:
        return StageDirectory.of(stage, parent, determining, afresh=choice == SCRATCH or trial)
    earlier = Path(choice)
    theirs = determining_of(earlier)
    if theirs["stage"] != stage:
        return StageDirectory.of(stage, parent, determining)
    changed = differences(determining, {key: value for key, value in theirs.items() if key != KEY})
    strange = [text for text in changed if not text.startswith("training.budget.")]
    if strange:
        raise UserError(
            f"continue_from={choice}: only the budget may be another, and {'; '.join(strange[:8])} differs too "
            f"(there → here): set it back, or leave continue_from= out to train a new run"
        )
    directory = StageDirectory.of(stage, parent, {**determining, KEY: fingerprint(theirs)}, earlier=earlier)
    if not directory.model.is_file():
        check_budget(earlier, fingerprint(theirs), budget, choice)
    return directory


def check_continuation(choice: str | None, stages: Mapping[str, Any]) -> None:
    """Checks `continue_from` before the first stage.

    Args:
        choice: its value.
        stages: the stages that train, and their settings.

    Raises:
        UserError: no such run, a run of another stage, or one with other settings than the budget.
    """
    if choice is None or choice == SCRATCH:
        return
    theirs = determining_of(Path(choice))
    stage = theirs["stage"]
    if stage not in stages:
        raise UserError(
            f"continue_from={choice} is of stage {stage}, and this training has {', '.join(stages)}: give a run of one "
            f"of these"
        )
    mine = {key: value for key, value in stages[stage].items() if key != "budget"}
    changed = differences(mine, {key: value for key, value in theirs["training"].items() if key != "budget"})
    if changed:
        raise UserError(
            f"continue_from={choice}: only the budget may be another, and of training.{stage} {'; '.join(changed[:8])} "
            f"differs too (there → here): set it back, or leave continue_from= out to train a new run"
        )


def determining_of(run: Path) -> dict[str, Any]:
    """The determining values of the run in a directory. UserError where no run is there."""
    file = run / "fingerprint.json"
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise UserError(f"continue_from={run} is no run: give the directory of one, which has {file.name}") from error
    except ValueError as error:
        raise UserError(f"{file} is damaged: give continue_from= another run") from error
    if not isinstance(content, dict) or not isinstance(content.get("training"), dict) or "stage" not in content:
        raise UserError(f"continue_from={run} holds nothing that is trained: give the directory of a finished run")
    if not (run / MODEL).is_file():
        raise UserError(f"continue_from={run} is not finished: its own command goes on with it")
    return content


def check_budget(earlier: Path, mark: str, budget: Any, choice: str) -> None:
    """UserError unless there is a checkpoint to start from, with a part of the budget left after it."""
    last = find_last(earlier / "checkpoints", mark)
    if last is None:
        raise UserError(f"continue_from={choice} has no checkpoints any more, only its model: train a new run")
    content = read_checkpoint(last.path)
    states = content.get("callbacks", {})
    seconds = next((state["seconds"] for name, state in states.items() if name.startswith("BudgetCallback")), 0.0)
    if budget.progress(last.step, seconds) >= 1:
        raise UserError(
            f"continue_from={choice} has made {quantity(last.step, 'step')} in {duration(seconds)}, which is all of "
            f"this budget: give more, as budget.max_steps or budget.max_minutes of the stage"
        )
