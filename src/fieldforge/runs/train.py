"""Body of train.py: walks the stages, each of which reuses, resumes or starts."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig, ListConfig

from fieldforge.errors import UserError
from fieldforge.runs.autoencoder_stage import train_autoencoder
from fieldforge.runs.build import build, check
from fieldforge.runs.training_run import whole_number
from fieldforge.training import interruption

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
    check(config)
    whole_number(config, "seed", least=0)
    wanted = config.stages
    if not isinstance(wanted, ListConfig) or not wanted or all(list(wanted) != list(r[: len(wanted)]) for r in ROADS):
        known = " or of ".join(str(list(road)) for road in ROADS)
        raise UserError(f"stages={wanted}: each stage needs those before it, give the first of {known}")
    for stage in set(wanted) & set(config.training):
        build(config, f"training.{stage}.budget")
    if config.plan.show:
        from fieldforge.runs.plan import print_plan

        print_plan(config)
        return {}
    if "distillation" in wanted:
        from fieldforge.runs.distillation_stage import train_distillation

        return {"diffusion": train_distillation(config)}
    if "prior" in wanted:
        from fieldforge.runs.prior_stage import train_prior

        return {"prior": train_prior(config)}
    done = {"autoencoder": train_autoencoder(config)}
    _stop_if_asked()
    if "latents" in wanted:
        from fieldforge.runs.latent_stage import cache_latents

        latents = cache_latents(config, done["autoencoder"])
        _stop_if_asked()
        if "diffusion" in wanted:
            from fieldforge.runs.diffusion_stage import train_diffusion

            done["diffusion"] = train_diffusion(config, done["autoencoder"], latents)
        if "classifier" in wanted:
            from fieldforge.runs.classifier_stage import train_classifier

            done["classifier"] = train_classifier(config, done["autoencoder"], latents)
    return done


def _stop_if_asked() -> None:
    stopped_by = interruption.noted()
    if stopped_by is not None:
        raise interruption.Interrupted(stopped_by)
