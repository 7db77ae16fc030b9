"""A stage's place on disk: `outputs/<name>/<fingerprint>/`.

config.yaml        resolved configuration of the run that made it
fingerprint.json   what determines the result
checkpoints/       full training state, the last two
pictures/          what the model made while it trained
metrics.csv        the default logger's table
model.ckpt         the finished model (averaged weights); its presence means: finished
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fieldforge.errors import UserError, the_first
from fieldforge.stages.fingerprint import differences, fingerprint
from fieldforge.storage.files import atomic_file, remove_leftovers
from fieldforge.storage.lock import take
from fieldforge.training.callbacks.snapshots import FOLDER as SNAPSHOTS
from fieldforge.training.processes.checkpoints import FORMAT, load_safely, remove_unfinished, save_atomically
from fieldforge.training.processes.published import SUFFIX

MODEL = "model.ckpt"
PUBLISHED = f"model{SUFFIX}"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageDirectory:
    """One stage of one configuration.

    Args:
        stage: "autoencoder", "diffusion", "classifier", …
        path: its directory, which ends in the fingerprint.
        determining: the plain values that the fingerprint covers.
        known: the fingerprint in the file of a finished run; None: it follows from `determining`.
        earlier: directory of the finished run whose last checkpoint this run starts from.
        afresh: starts anew although a finished run of another budget exists.
        file: file of the finished model, where it lies elsewhere.
    """

    stage: str
    path: Path
    determining: Mapping[str, Any]
    known: str | None = None
    earlier: Path | None = None
    afresh: bool = False
    file: Path | None = None

    @staticmethod
    def of(stage: str, parent: Path, determining: Mapping[str, Any], **further: Any) -> StageDirectory:
        return StageDirectory(stage, parent / fingerprint(determining), determining, **further)

    @property
    def fingerprint(self) -> str:
        return self.known or fingerprint(self.determining)

    @property
    def continued_from(self) -> str:
        """Fingerprint of `earlier`."""
        return str(self.determining["continued_from"])

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def model(self) -> Path:
        return self.file or self.path / MODEL

    @property
    def finished(self) -> bool:
        """Whether a finished model of exactly this configuration lies here.

        Raises:
            UserError: there is one, but it is damaged or of another fingerprint.
        """
        if not self.model.is_file():
            return False
        label = load_safely(self.model)["fieldforge"]
        if label.get("fingerprint") != self.fingerprint or label.get("stage") != self.stage:
            raise UserError(
                f"{self.model} is a {label.get('stage')} of run {label.get('fingerprint')}, not the {self.stage} of "
                f"{self.fingerprint}: move it away and run the command again"
            )
        return True

    def open(self, config: Mapping[str, Any]) -> None:
        """Create the directory with its resolved configuration; logs the differences to the newest other run.

        Raises:
            UserError: another command trains in it, it cannot be written, or a finished run differs only in a smaller
                budget and no setting decides between a new and a continued training.
        """
        if not (self.path / "fingerprint.json").is_file():
            self._compare_with_neighbours()
        take(self.path)
        remove_unfinished(self.checkpoints)
        for folder in (self.path, self.pictures, self.path / SNAPSHOTS):
            remove_leftovers(folder)
        _write(self.path / "fingerprint.json", json.dumps(self.determining, indent=2, sort_keys=True))
        from omegaconf import OmegaConf

        _write(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def save_model(self, state_dict: Mapping[str, Any], config: Mapping[str, Any], **further: Any) -> None:
        """Write the finished model with its configuration, so that the file loads by itself."""
        label = {"format": FORMAT, "stage": self.stage, "fingerprint": self.fingerprint, "config": dict(config)}
        save_atomically({"fieldforge": {**label, **further}, "state_dict": dict(state_dict)}, self.model)

    def _compare_with_neighbours(self) -> None:
        others = [path for path in self.path.parent.glob("*/fingerprint.json") if path.parent != self.path]
        neighbours = [(path, theirs) for path in others if (theirs := self._same_stage(path))]
        if not neighbours:
            return
        neighbours.sort(key=lambda neighbour: neighbour[0].stat().st_mtime)
        for path, theirs in [] if self.earlier or self.afresh else reversed(neighbours):
            self._refuse_to_start_anew(path.parent, theirs)
        newest, theirs = neighbours[-1]
        changed = differences(self.determining, theirs)
        log.info(
            "%s: no earlier run matches; %s differs in %s. A new one starts in %s (to go on with the earlier one, "
            "set these keys back).",
            self.stage,
            newest.parent,
            the_first(changed, 8, "; "),
            self.path,
        )

    def _same_stage(self, path: Path) -> dict[str, Any] | None:
        try:
            theirs = json.loads(path.read_text())
        except (ValueError, OSError):
            return None
        return theirs if isinstance(theirs, dict) and theirs.get("stage") == self.stage else None

    def _refuse_to_start_anew(self, run: Path, theirs: Mapping[str, Any]) -> None:
        """UserError where a finished run differs only in a smaller budget: the user may want to continue it."""
        changed = differences(self.determining, {k: v for k, v in theirs.items() if k != "continued_from"})
        if not changed or not all(text.startswith("training.budget.") for text in changed):
            return
        mine, before = (values["training"]["budget"] for values in (self.determining, theirs))
        limits = [(mine.get(key), before.get(key)) for key in ("max_steps", "max_minutes")]
        grows = any(old is not None and (new is None or new > old) for new, old in limits)
        if grows and (run / MODEL).is_file() and any(run.glob("checkpoints/step_*.ckpt")):
            raise UserError(
                f"{self.stage}: {run} is finished and differs in nothing but its budget ({'; '.join(changed)}): give "
                f"continue_from={run} to go on from its end, or continue_from=scratch to train a new one"
            )


def model_in(place: Path) -> Path:
    """The finished model at a path: the file itself, or the model in the folder, published or not."""
    if place.is_file():
        return place
    published = place / PUBLISHED
    return published if published.is_file() and not (place / MODEL).is_file() else place / MODEL


def load_weights(module: torch.nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Load the weights of the checkpoint at `path` into `module`. UserError if they do not fit, or are not real."""
    for name, value in weights.items():
        if isinstance(value, torch.Tensor) and (value.is_complex() or value.is_quantized):
            raise UserError(f"{path}: {name} holds {value.dtype}, no real numbers: use another copy of that file")
    try:
        module.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:  # (the last two where a value is no tensor)
        raise UserError(
            f"{path}: its weights do not fit its configuration, train it again with this version"
        ) from error


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text.encode())
