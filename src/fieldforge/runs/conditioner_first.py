"""The conditioner tried before the first stage: what is wrong with it would show after hours of the autoencoder."""

from __future__ import annotations

from omegaconf import DictConfig

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.errors import UserError
from fieldforge.runs.training_run import seeded


def check_conditioner(config: DictConfig) -> None:
    """UserError for sources that cannot be built, encoders that are not there, pictures that latents would lack.

    No network of an encoder is loaded; names of classes, which the data tell later, are not asked for.
    """
    config = config.copy()
    if "class" in config.conditioner.get("sources", []) and not config.conditioner.get("classes"):
        config.conditioner.classes = ["any"]
    conditioner: Conditioner = seeded(config, "conditioner")
    conditioner.fingerprint()  # finds the checkpoints
    if "diffusion" in config.stages:
        check_pictures(config, conditioner)


def check_pictures(config: DictConfig, conditioner: Conditioner) -> None:
    """UserError where a source reads pictures and no stage of the latents' data gives any, or their features."""
    stages = [stage for stage in config.latent_data.stages.values() if stage is not None]
    stored = {name for stage in stages for name in stage.get("sources", [])}
    drawn = any(not str(stage._target_).endswith((".Latent", ".Labels", ".CaptionIn")) for stage in stages)
    for name in conditioner.names:
        if conditioner.source(name).key == "image" and name not in stored and not drawn:
            raise UserError(
                f"conditioner.sources: {name} reads pictures, and latents have none: add +embedded=views "
                f"(encoded live), or store them ahead (docs/conditioning.md)"
            )
