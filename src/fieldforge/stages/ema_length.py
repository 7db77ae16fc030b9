"""Post-hoc EMA: the model of a finished run with another length of the weights' average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError
from fieldforge.nn.ema import Profile, combine, gamma_of_std, misfit, posthoc_weights
from fieldforge.training.callbacks.snapshots import FOLDER
from fieldforge.training.processes.checkpoints import load_safely, save_atomically

MISFIT = 0.2  # a profile further than this from the one that is asked for is refused


@contextlib.contextmanager
def model_of_length(model: Path, length: Any) -> Iterator[Path]:
    """`of_length` as a context: after a UserError inside, a newly written file is removed again."""
    before = set(model.parent.glob(f"{model.stem}_ema_*.ckpt"))
    path = of_length(model, length)
    try:
        yield path
    except UserError:
        if path != model and path not in before:
            path.unlink(missing_ok=True)
        raise


def of_length(model: Path, length: Any) -> Path:
    """`model.ckpt` itself for None; else `model_ema_<length>.ckpt` beside it, computed from the run's snapshots.

    Karras et al. 2023, "EDM2", section 3.2 and algorithm 3.

    Args:
        model: of a run that was trained with `callbacks=snapshots`.
        length: deviation of the average's profile, relative to the length of the training.

    Raises:
        UserError: no such length, no snapshots, those of another run, or too few for this length.
    """
    if length is None:
        return model
    if isinstance(length, bool) or not isinstance(length, int | float):
        raise UserError(f"ema_length={length} must be a number, such as 0.1: correct it")
    content, folder = load_safely(model), model.parent / FOLDER
    snapshots = _snapshots(folder, content["fieldforge"].get("fingerprint"), length)
    labels = [snapshot["fieldforge"] for snapshot in snapshots]
    profiles = [Profile(label["step"], gamma_of_std(label["std"])) for label in labels]
    target = Profile(labels[-1]["step"], gamma_of_std(length))
    weights = posthoc_weights(profiles, target)
    missing = misfit(profiles, weights, target)
    if missing > MISFIT:
        stds = sorted({label["std"] for label in labels})
        raise UserError(
            f"ema_length={length}: the {len(labels)} averages in {folder} miss {missing:.0%} of it: "
            f"give one closer to {' or '.join(map(str, stds))}, or train with a smaller callbacks.snapshots.every_steps"
        )
    averages = [snapshot["average"] for snapshot in snapshots]
    if any(average.keys() != content.get("state_dict", {}).keys() for average in averages):
        raise UserError(f"ema_length={length}: {folder} holds no averages of the whole of {model}, leave it out")
    path = model.with_name(f"{model.stem}_ema_{length:g}.ckpt")
    label = {**content["fieldforge"], "ema_length": float(length)}
    save_atomically({"fieldforge": label, "state_dict": combine(averages, weights)}, path)
    return path


def _snapshots(folder: Path, fingerprint: Any, length: float) -> list[dict[str, Any]]:
    """All averages of a run, ordered by step. UserError where there are none, or where they belong to another run."""
    snapshots = [_snapshot(path) for path in sorted(folder.glob("step_*.ckpt"))]
    if not snapshots:
        raise UserError(f"ema_length={length}: there are no averages in {folder}, train with callbacks=snapshots")
    if any(snapshot["fieldforge"]["fingerprint"] != fingerprint for snapshot in snapshots):
        raise UserError(f"{folder} holds averages of another run than {fingerprint}: move them out of the way")
    return snapshots


def _snapshot(path: Path) -> dict[str, Any]:
    """One average of a run. UserError for an incomplete file."""
    snapshot = load_safely(path, mmap=True)
    label = snapshot["fieldforge"]
    sound = isinstance(label.get("step"), int) and isinstance(label.get("std"), float)
    if not sound or "fingerprint" not in label or not isinstance(snapshot.get("average"), dict):
        raise UserError(f"{path} is damaged, it is no average of a run's weights: delete it or use another copy")
    return snapshot
