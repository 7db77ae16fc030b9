"""Finds the finished run that a command refers to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError
from fieldforge.stages.directory import MODEL, PUBLISHED, model_in
from fieldforge.stages.model_hub import hub_name
from fieldforge.stages.pretrained import place_of, shipped
from fieldforge.stages.run_list import run_list
from fieldforge.training.processes.checkpoints import load_safely
from fieldforge.training.processes.published import SUFFIX

log = logging.getLogger(__name__)
SHOWN = 3  # of the finished runs, where the one that is asked for is not there


class NoFinishedRun(UserError):
    """No run of the requested stage is finished."""


def find_model(run: str | None, output_dir: str, *stages: str, key: str = "run") -> tuple[Path, str]:
    """`model.ckpt` and stage of the requested run.

    Args:
        run: directory of a run or of a published model, or the file in it; the folder of a name, for its newest
            finished run; a word of `place_of`; None for the newest run below `output_dir`.
        output_dir: folder of all runs.
        stages: accepted stages, of "autoencoder", "diffusion", "classifier" and "prior".
        key: configuration key of `run`.

    Raises:
        UserError: no such run, an unfinished one, or one of another stage.
    """
    stage_names = " or ".join(stages)
    if run is not None:
        path = place_of(run, key)
        model = model_in(path)
        if not path.exists():
            runs = ", ".join(str(model.parent) for model in finished(output_dir)[:SHOWN])
            others = f"the newest finished ones are {runs}," if runs else "nor a finished one"
            raise UserError(f"{key}={run}: there is no such run, {others} below {output_dir}")
        named = [] if model.is_file() else _newest_first([*path.glob(f"*/{MODEL}"), *path.glob(f"*/{PUBLISHED}")])
        if named:
            model, stage = _first_of(named, stages, f"in {run}", path)
            log.info("%s holds runs: the newest finished one is taken, %s", run, model.parent)
            return model, stage
        if not model.is_file():
            unfinished = list(path.glob("checkpoints/*.ckpt"))
            advice = "train.py has not finished it, run its command again" if unfinished else "give a run's directory"
            runs = f", only runs: {there}" if (there := run_list(path)) else ""
            raise UserError(f"{key}={run} has no {MODEL}{runs}: {advice}")
        kind = stage_of(model)
        if kind not in stages:
            raise UserError(f"{key}={run} holds a model of stage {kind}, not of stage {stage_names}: give another run")
        return model, kind
    return _first_of(finished(output_dir), stages, f"below {output_dir}", Path(output_dir))


def find_diffusion(run: str | None, output_dir: str) -> Path:
    """`find_model` of a diffusion model; without `run` and without a finished run, the repository's model."""
    try:
        return find_model(run, output_dir, "diffusion")[0]
    except NoFinishedRun:
        model = shipped() if run is None else None
        if model is None:
            raise
    log.info("there is no finished diffusion below %s: the pretrained one is used, %s", output_dir, model.parent)
    return model


def folder_of(model: Path, output_dir: str) -> Path:
    """Folder for a command's results: beside the model in its run, or below `output_dir` for a published model.

    Published models lie in the source tree, or in folders that stay unchanged.
    """
    if model.suffix != SUFFIX:
        return model.parent
    if (name := hub_name(model)) is not None:
        return Path(output_dir) / "hub" / name
    return Path(output_dir) / "pretrained" / model.resolve().parent.name


def _first_of(models: Iterable[Path], stages: Sequence[str], place: str, folder: Path) -> tuple[Path, str]:
    """The first model of one of the stages, with its stage; damaged models are skipped with a warning.

    Raises:
        UserError: there is none; the sentence names the folder and its runs.
    """
    stage_names, damaged = " or ".join(stages), 0
    for model in models:
        try:
            kind = stage_of(model)
        except UserError as error:
            damaged += 1
            log.warning("warning: %s; passed over, the run before it is taken", error)
            continue
        if kind in stages:
            return model, kind
    if damaged:
        raise UserError(f"there is no {stage_names} {place} that can be read: train one again, or give run=")
    runs = f", which holds {there}" if (there := run_list(folder)) else ""
    raise NoFinishedRun(f"there is no finished {stage_names} {place}{runs}: train one first, or give run=")


def finished(output_dir: str) -> list[Path]:
    """`model.ckpt` of every finished run, the newest first."""
    return _newest_first(Path(output_dir).glob(f"*/*/{MODEL}"))


def _newest_first(models: Iterable[Path]) -> list[Path]:
    return sorted(filter(Path.is_file, models), key=lambda path: path.stat().st_mtime, reverse=True)


def label_of(model: Path) -> dict[str, Any]:
    """The label in a finished model's file. UserError for a damaged file."""
    label: dict[str, Any] = load_safely(model)["fieldforge"]
    return label


def stage_of(model: Path) -> str:
    """Stage of a finished model."""
    stage = label_of(model).get("stage")
    if not isinstance(stage, str):
        raise UserError(f"{model}: its label is damaged, it names no stage: use another copy of that file")
    return stage
