"""Weights & Biases, opt-in: a missing account, network or service never stops a training."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from fieldforge.rendering.gallery import Exhibit
from fieldforge.training.callbacks.context import TrainingContext
from fieldforge.training.callbacks.wandb_service import begin_run, first_line, usual_mode

log = logging.getLogger(__name__)
_STEP = "trainer/global_step"


class Reporter(WandbLogger):
    """A logger whose run starts online where possible, else offline; after an error of the service it is silent.

    Args:
        mode: "online", "offline" or "disabled".
        artifact: whether the finished model goes along.
        options: as Lightning's logger takes them.
    """

    def __init__(self, mode: str, artifact: bool = False, **options: Any):
        super().__init__(log_model=False, **options)
        self.mode, self.artifact = mode, artifact
        self._silent = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; of the first process alone."""
        if self._experiment is None:
            self._experiment = begin_run(self._wandb_init, self.mode)
            self._attempt(self._experiment.define_metric, _STEP)
            self._attempt(self._experiment.define_metric, "*", step_metric=_STEP, step_sync=True)
            best = {"step_metric": _STEP, "step_sync": True, "summary": "min,last"}
            self._attempt(self._experiment.define_metric, "heldout/*", **best)
        return self._experiment

    def log_hyperparams(self, params: Any, *args: Any, **options: Any) -> None:
        self._attempt(super().log_hyperparams, params, *args, **options)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self._attempt(super().log_metrics, metrics, step)

    def log_image(self, key: str, images: list[Any], step: int | None = None, **options: Any) -> None:
        self._attempt(super().log_image, key, images, step, **options)

    def log_exhibits(self, exhibits: Sequence[Exhibit], step: int) -> None:
        """A table of the samples of a picture, and each shape as an object that turns."""
        self._attempt(self._log_exhibits, exhibits, step)

    def log_model_file(self, path: Path) -> None:
        """The finished model as an artifact of the run's name, where that is wished."""
        if self.artifact:
            self._attempt(self._log_model_file, path)

    def log_report(self, path: Path) -> None:
        """A report of an evaluation: the numbers of its JSON file in the summary, its page and its sheet."""
        self._attempt(self._log_report, path)

    @rank_zero_only
    def _log_exhibits(self, exhibits: Sequence[Exhibit], step: int) -> None:
        import wandb

        table, shapes = wandb.Table(columns=["prompt", "seed", "picture"]), []
        with tempfile.TemporaryDirectory() as folder:
            for number, one in enumerate(exhibits):
                if one.media is not None and one.media.turns:
                    place = Path(folder) / f"{number}.glb"
                    place.write_bytes(one.media.content)
                    shapes.append(wandb.Object3D(str(place), caption=one.prompt))  # tables take none
                table.add_data(one.prompt, one.facts.get("seed"), wandb.Image(one.poster.convert("RGBA")))
            found = {"samples": table} | ({"shapes": shapes} if shapes else {})
            self.experiment.log({**found, _STEP: step})

    @rank_zero_only
    def _log_model_file(self, path: Path) -> None:
        import wandb

        artifact = wandb.Artifact(clean_id(self.experiment.id), type="model", metadata={"run": str(path.parent)})
        artifact.add_file(str(path))
        self.experiment.log_artifact(artifact)

    def _log_report(self, path: Path) -> None:
        import wandb

        numbers = numbers_of(json.loads(path.read_bytes()), f"evaluation/{path.stem}")
        self.experiment.summary.update(numbers)
        kinds: dict[str, Callable[[str], Any]] = {".html": partial(wandb.Html, inject=False), ".png": wandb.Image}
        files = {path.with_suffix(suffix): kind for suffix, kind in kinds.items()}
        found = {
            f"evaluation/{file.stem}{file.suffix}": kind(str(file)) for file, kind in files.items() if file.is_file()
        }
        self.experiment.log(found)

    def finalize(self, status: str) -> None:
        self._attempt(super().finalize, status)

    def _attempt(self, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        if self._silent:
            return
        try:
            call(*args, **options)
        except Exception as error:  # whatever the library raises: only a copy of metrics.csv is lost
            self._silent = True
            log.warning("warning: Weights & Biases fails (%s): all goes on without it", first_line(error))


class Wandb:
    """The choice `logger=wandb`: `begin` makes the logger.

    Args:
        project: of the service.
        artifact: whether the finished model goes along.
        mode: "online", "offline" or "disabled"; None: WANDB_MODE and WANDB_DISABLED are honoured, else online where
            there is a key and the service can be had.
        options: further ones, as Lightning's logger takes them.
    """

    def __init__(self, project: str = "fieldforge", mode: str | None = None, artifact: bool = False, **options: Any):
        self.project, self.mode, self.artifact, self.options = project, mode, artifact, options

    @staticmethod
    def of_training(config: Mapping[str, Any]) -> Wandb:
        """The choice that reaches the run of a finished training: its project and entity, by its configuration."""
        stored = config.get("logger") or {}
        ours = stored.get("_target_") == f"{Wandb.__module__}.{Wandb.__qualname__}"
        return Wandb(**{key: stored[key] for key in ("project", "entity") if ours and stored.get(key) is not None})

    def begin(self, context: TrainingContext) -> Reporter:
        """A logger whose run has the id of ours, so that a resumed training goes on in the same one.

        Under an agent of a sweep it has the id that the agent gives.

        Without a key, or where the service cannot be had, it writes offline below the run's directory; `wandb sync`
        sends that later.
        """
        agent = "WANDB_SWEEP_ID" in os.environ
        return self._reporter(
            context.config,
            context.stage,
            context.fingerprint,
            context.run,
            os.environ.get("WANDB_RUN_ID") if agent else None,
        )

    def goes_on(self, config: Mapping[str, Any], stage: str, fingerprint: str, folder: Path) -> Reporter:
        """A logger that adds to the run of a finished training, and writes below the folder where it is offline."""
        return self._reporter(config, stage, fingerprint, folder, None)

    def _reporter(
        self, config: Mapping[str, Any], stage: str, fingerprint: str, folder: Path, run: str | None
    ) -> Reporter:
        own = f"{config['name']}-{stage}-{fingerprint}"
        return Reporter(
            self.mode or usual_mode(),
            self.artifact,
            project=self.project,
            id=run or clean_id(own),
            name=own[:128],
            save_dir=str(folder),
            config=dict(config),
            **self.options,
        )


def finish() -> None:
    """End the current run, if there is one; else the next training of this process would write into it."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    try:
        wandb.finish()
    except Exception as error:
        log.warning("warning: Weights & Biases has not ended its run (%s)", first_line(error))
        with contextlib.suppress(Exception):
            wandb.teardown()
        unset_globals = getattr(wandb.sdk.lib.module, "unset_globals", None)
        if unset_globals is not None:
            unset_globals()  # else the next run would be that one


def numbers_of(values: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The numbers of nested values, by their keys with slashes between; lists are left out."""
    numbers: dict[str, float] = {}
    for name, value in values.items():
        key = f"{prefix}/{name}"
        if isinstance(value, Mapping):
            numbers |= numbers_of(value, key)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers[key] = value
    return numbers


def clean_id(run_id: str) -> str:
    """A run id in characters that the service accepts; different ids stay different."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)[:96]
    return cleaned if cleaned == run_id != "" else f"{cleaned}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"
