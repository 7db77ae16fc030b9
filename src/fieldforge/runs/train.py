"""Body of train.py: walks the stages, each of which reuses, resumes or starts."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig

from fieldforge.configuration.build import build, check
from fieldforge.data.files import make_folder
from fieldforge.errors import UserError
from fieldforge.planning.rehearsal import check_plain_keys, rehearse, trained
from fieldforge.stages.autoencoder_stage import train_autoencoder
from fieldforge.stages.conditioner_check import check_conditioner
from fieldforge.stages.continuation import check_continuation
from fieldforge.stages.training_run import plain
from fieldforge.training.processes import interruption, ranks
from fieldforge.training.processes.hardware import Hardware
from fieldforge.training.processes.requeue import requeue

log = logging.getLogger(__name__)
ROADS = (
    ("autoencoder", "latents", "diffusion"),
    ("autoencoder", "latents", "classifier"),
    ("distillation",),
    ("prior",),
)


def run_training(config: DictConfig) -> dict[str, Any]:
    """Walk `config.stages`; returns the directory of each stage by name.

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
            return walk(config, config.stages)
        except interruption.Interrupted as stop:
            if hardware.requeue and stop.by is not signal.SIGINT:
                ranks.first_alone(lambda: str(requeue()))  # srun may end it if another process leaves before
            raise


def check_training(config: DictConfig) -> None:
    """All that can be known of a training before its first stage, or of a plan. Nothing is written.

    Raises:
        UserError: the first mistake in the configuration; names the key.
    """
    check_plain_keys(config)
    check(config)
    wanted = config.stages
    if not isinstance(wanted, ListConfig) or not wanted or all(list(wanted) != list(r[: len(wanted)]) for r in ROADS):
        known = " or of ".join(str(list(road)) for road in ROADS)
        raise UserError(f"stages={wanted}: each stage needs those before it, give the first of {known}")
    if config.plan.show:
        for stage in trained(config):
            build(config, f"training.{stage}.budget")
        return
    if "diffusion" in wanted or "prior" in wanted:
        check_conditioner(config)
    rehearse(config)
    check_continuation(config, {stage: plain(config.training[stage]) for stage in trained(config)})


def walk(config: DictConfig, wanted: Collection[str]) -> dict[str, Any]:
    """The stages one after the other, in all processes alike."""
    if "distillation" in wanted:
        from fieldforge.stages.distillation_stage import train_distillation

        return {"diffusion": train_distillation(config)}
    if "prior" in wanted:
        from fieldforge.stages.prior_stage import train_prior

        return {"prior": train_prior(config)}
    done = {"autoencoder": train_autoencoder(config)}
    _stop_if_asked()
    if "latents" in wanted:
        from fieldforge.stages.latent_stage import cache_latents

        latents = cache_latents(config, done["autoencoder"])
        _stop_if_asked()
        if "diffusion" in wanted:
            from fieldforge.stages.diffusion_stage import train_diffusion

            done["diffusion"] = train_diffusion(config, done["autoencoder"], latents)
        if "classifier" in wanted:
            from fieldforge.stages.classifier_stage import train_classifier

            done["classifier"] = train_classifier(config, done["autoencoder"], latents)
    return done


def _stop_if_asked() -> None:
    if ranks.agree_to_stop():
        raise interruption.Interrupted(interruption.noted())


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
    return [sys.executable, os.path.abspath(sys.argv[0]), *places, *hydra.overrides.task]
