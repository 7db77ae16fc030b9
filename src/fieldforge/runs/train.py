"""Body of train.py: runs the stages one after the other; each reuses, resumes or starts its training."""

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
from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.planning.rehearsal import rehearse
from fieldforge.planning.settings import PlanSettings
from fieldforge.runs.early_checks import check_training_keys
from fieldforge.runs.foreign_models import with_local_models
from fieldforge.stages.continuation import check_continuation
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.registry import kinds_of, stages_of
from fieldforge.stages.settings import RunSettings
from fieldforge.stages.stage import Stage, StageResult, TrainedStage
from fieldforge.stages.training_run import StepSettings, plain
from fieldforge.storage.files import make_folder
from fieldforge.training.processes import interruption, ranks
from fieldforge.training.processes.hardware import Hardware
from fieldforge.training.processes.requeue import requeue

log = logging.getLogger(__name__)


def run_training(config: DictConfig) -> dict[str, StageDirectory]:
    """Run `config.stages`, or print their plan; stage name → directory of each stage that takes steps.

    Raises:
        UserError: a mistake in the configuration or the data.
        Interrupted: a signal or the time limit stopped a stage; its state is saved.
    """
    config = with_local_models(config)
    check_training(config)
    plan: PlanSettings = build(config, "plan")
    if plan.show:
        from fieldforge.planning.plan import print_plan

        interruption.uninstall()  # nothing is saved: a signal ends it at once
        interruption.release_ctrl_c()
        print_plan(config, plan)
        return {}
    make_folder(Path(read_settings(config, RunSettings).output_dir), "output_dir")
    hardware: Hardware = build(config, "trainer")
    interruption.limit_time(hardware.max_hours)
    with hardware.processes(this_command):
        try:
            return walk(stages_of(config))
        except interruption.Interrupted as stop:
            if hardware.requeue and stop.by is not signal.SIGINT:
                ranks.first_alone(lambda: str(requeue()))  # srun may end this process once another one has left
            raise


def check_training(config: DictConfig) -> None:
    """Check the whole configuration of a training, or of a plan, before the first stage. It writes no file.

    Raises:
        UserError: the first mistake in the configuration; names the key.
    """
    check_training_keys(config)
    check(config)
    settings, plan, stages = read_settings(config, RunSettings), build(config, "plan"), stages_of(config)
    if plan.show:
        for kind in kinds_of(stages):
            StepSettings.of(config, kind)
        return
    check_start(settings, stages)
    for stage in stages:
        stage.check()
    rehearse(stages)
    check_continuation(settings.continue_from, {kind: plain(config.training[kind]) for kind in kinds_of(stages)})


def check_start(settings: RunSettings, stages: list[Stage]) -> None:
    """UserError for an `init_from` whose weights no stage takes."""
    taken = any(isinstance(stage, TrainedStage) and stage.start is not None for stage in stages)
    if settings.init_from is not None and not taken:
        names = ", ".join(stage.name for stage in stages)
        raise UserError(
            f"init_from={settings.init_from} is of a stage that this training ({names}) has not: give another"
        )


def walk(stages: list[Stage]) -> dict[str, StageDirectory]:
    """Run the stages in order, alike in all processes; stage name → directory of each stage that takes steps.

    Raises:
        UserError: a mistake in the data.
        Interrupted: a signal or the time limit stopped a stage; its state is saved.
    """
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
    """The command of this training for a further process: interpreter, script and arguments.

    Raises:
        UserError: the caller is not `train.py`, so that there is no command.
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
