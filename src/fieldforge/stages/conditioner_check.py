"""Checks of the conditioner before the first stage: its mistakes would show only after hours of the autoencoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.transforms import StoredFeatures, View
from fieldforge.configuration.build import build
from fieldforge.errors import UserError
from fieldforge.stages.denoiser_parts import wants_classes
from fieldforge.stages.training_run import seeded


def first_conditioner(config: DictConfig) -> Conditioner:
    """The conditioner, after a check that its encoders exist. UserError for invalid sources or missing encoders.

    No encoder's network is loaded, and no class names are needed, which come from the data later.
    """
    config = config.copy()
    if wants_classes(config):
        config.conditioner.classes = ["any"]
    conditioner: Conditioner = seeded(config, "conditioner")
    check_encoders(conditioner)
    return conditioner


def check_diffusion_conditioner(config: DictConfig) -> None:
    """`first_conditioner`; UserError also where the latents' data lack the pictures."""
    conditioner = first_conditioner(config)
    transforms = latent_transforms(config)
    check_stored(transforms, conditioner)
    check_pictures(transforms.values(), conditioner)


def check_prior_conditioner(config: DictConfig, generated: Conditioner) -> None:
    """`first_conditioner`; UserError also where a prior would read the pictures that it generates (`generated`: its
    target).
    """
    conditioner = first_conditioner(config)
    check_encoders(generated)
    if seeing := reads_pictures(conditioner):
        raise UserError(
            f"conditioner.sources: {', '.join(seeing)} reads pictures, which a prior is there to make up: give "
            f"conditioner=text or another without pictures, and the pictures' source as prior.source"
        )


def check_encoders(conditioner: Conditioner) -> None:
    """UserError where an encoder's checkpoint, or its tokenizer, is missing."""
    encoders: list[Any] = [getattr(source, "encoder", None) for source in conditioner.sources.values()]
    for encoder in encoders:
        if hasattr(encoder, "check_present"):
            encoder.check_present()
        getattr(encoder, "tokenizer", None)  # a tokenizer is loaded where it is asked for, and small


def check_stored(transforms: Mapping[str, object], conditioner: Conditioner) -> None:
    """UserError where a transform reads stored features of an unknown source, or of one without encoder."""
    encoded = [name for name, source in conditioner.sources.items() if hasattr(source, "encoder")]
    for name, built in transforms.items():
        strange = [one for one in built.sources if one not in encoded] if isinstance(built, StoredFeatures) else []
        if strange:
            raise UserError(
                f"latent_data.transforms.{name} reads stored features of {', '.join(strange)}, but the model's "
                f"sources with an encoder are {', '.join(encoded) or 'none'}: name these in "
                f"latent_data.transforms.{name}.sources, or give embedded=views (encoded live) in place of what asks "
                f"for it"
            )


def check_pictures(transforms: Collection[object], conditioner: Conditioner) -> None:
    """UserError where a source reads pictures and no transform of the latents' data gives pictures or features."""
    stored_sources = {name for one in transforms if isinstance(one, StoredFeatures) for name in one.sources}
    # What a transform from outside gives, only it knows.
    pictures = any(isinstance(one, View) or not type(one).__module__.startswith("fieldforge.") for one in transforms)
    for name in reads_pictures(conditioner):
        if name not in stored_sources and not pictures:
            raise UserError(
                f"conditioner.sources: {name} reads pictures, and latents have none: add +embedded=views (encoded live)"
                f" or +embedded=stored (once, before training)"
            )


def latent_transforms(config: DictConfig) -> dict[str, object]:
    """The transforms of the latents' data, by name."""
    blocks = config.latent_data.transforms
    return {name: build(config, f"latent_data.transforms.{name}") for name in blocks if blocks[name] is not None}


def reads_pictures(conditioner: Conditioner) -> list[str]:
    """Names of the sources that read pictures."""
    return [name for name, source in conditioner.sources.items() if source.key == "image"]


def encoder_notes(config: DictConfig, conditioner: Conditioner) -> tuple[str, ...]:
    """Notes for a plan, which leaves out encoders that run during the training."""
    targets = [config.latent_data.transforms[name] for name in config.latent_data.transforms]
    stored = {name for node in targets if isinstance(node, DictConfig) and is_stored(node) for name in node.sources}
    live = [name for name, source in conditioner.sources.items() if hasattr(source, "encoder") and name not in stored]
    return tuple(
        f"the frozen encoder of {name!r} runs beside the training and is not counted, as its features are not stored"
        for name in live
    )


def is_stored(node: DictConfig) -> bool:
    """Whether a configuration block is `StoredFeatures`."""
    return node.get("_target_") == f"{StoredFeatures.__module__}.{StoredFeatures.__qualname__}"
