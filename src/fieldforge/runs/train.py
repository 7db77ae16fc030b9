"""Body of train.py: walks the stages, each of which reuses, resumes or starts."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fieldforge.configuration.build import build, check
from fieldforge.errors import UserError
from fieldforge.planning.rehearsal import rehearse
from fieldforge.runs.early_checks import check_training_keys
from fieldforge.stages.continuation import check_continuation
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.registry import kinds_of, stages_of
from fieldforge.stages.stage import Stage, StageResult, TrainedStage
from fieldforge.stages.training_run import plain
from fieldforge.storage.files import make_folder
from fieldforge.training.processes import interruption, ranks
from fieldforge.training.processes.hardware import Hardware
from fieldforge.training.processes.requeue import requeue

log = logging.getLogger(__name__)


def run_training(config: DictConfig) -> dict[str, StageDirectory]:
    """Walk `config.stages`; returns the directories of those that take steps, by name.

    Raises:
        UserError: a mistake in the configuration or the data.
        Interrupted: a signal stopped a stage; what is done is saved.
    """
    check_training(config)
    if config.plan.show:
        from fieldforge.planning.plan import print_plan

        print_plan(config)
        return {}
    make_folder(Path(config.output_dir), "output_dir")
    hardware: Hardware = build(config, "trainer")
    interruption.limit_time(hardware.max_hours)
    with hardware.processes(this_command):
        try:
            return walk(stages_of(config))
        except interruption.Interrupted as stop:
            if hardware.requeue and stop.by is not signal.SIGINT:
                ranks.first_alone(lambda: str(requeue()))  # srun may end it if another process leaves before
            raise


def check_training(config: DictConfig) -> None:
    """All that can be known of a training before its first stage, or of a plan. Nothing is written.

    Raises:
        UserError: the first mistake in the configuration; names the key.
    """
    check_training_keys(config)
    check(config)
    stages = stages_of(config)
    if config.plan.show:
        for kind in kinds_of(stages):
            build(config, f"training.{kind}.budget")
        return
    check_start(config, stages)
    for stage in stages:
        stage.check()
    rehearse(stages)
    check_continuation(config, {kind: plain(config.training[kind]) for kind in kinds_of(stages)})


def check_start(config: DictConfig, stages: list[Stage]) -> None:
    """UserError for an `init_from` that no stage takes, or beside a `continue_from`."""
    if config.init_from is None:
        return
    if config.continue_from is not None:
        raise UserError("init_from= and continue_from= are both given: weights alone, or all of a training; give one")
    if not any(isinstance(stage, TrainedStage) and stage.start is not None for stage in stages):
        names = ", ".join(config.stages)
        raise UserError(
            f"init_from={config.init_from} is of a stage that this training ({names}) has not: give another"
        )


def walk(stages: list[Stage]) -> dict[str, StageDirectory]:
    """The stages one after the other, in all processes alike; name → directory of each that takes steps."""
    results: dict[str, StageResult] = {}
    directories = {}
    for stage in stages:
        result = results[stage.kind] = stage.run(results)
        if result.directory is not None:
            directories[result.name] = result.directory
        if ranks.agree_to_stop():
            raise interruption.Interrupted(interruption.noted())
    return directories


def this_command() -> list[str]:
    """What starts this training once more, in a process beside this one.

    Raises:
        UserError: it was not started by `train.py`.
    """
    if not HydraConfig.initialized():
        raise UserError("trainer.devices: several processes are started by train.py, srun or torchrun")
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.RUN:
        return [sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]]
    places = [override for override in hydra.overrides.hydra if override.startswith("hydra.searchpath")]
    sources = [source for source in hydra.runtime.config_sources if source.provider == "command-line"]
    folders = [word for source in sources for word in ("--config-dir", source.path)]
    return [sys.executable, os.path.abspath(sys.argv[0]), *folders, *places, *hydra.overrides.task]
