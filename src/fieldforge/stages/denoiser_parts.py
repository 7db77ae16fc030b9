"""Builds denoisers from a configuration: model, training module, generator, for latents and embeddings alike."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.configuration.build import build
from fieldforge.configuration.values import check_key
from fieldforge.data.shards import ShardSet
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.sampler import Sampler
from fieldforge.generation import Generator
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.ranges import Count
from fieldforge.stages.training_run import seed_of
from fieldforge.training.modules.diffusion_module import DiffusionModule


def wants_classes(config: DictConfig) -> bool:
    """Whether the conditioner reads classes and takes their names from the data."""
    if "conditioner" not in config:
        return False
    conditioner = config.conditioner
    return "class" in conditioner.get("sources", []) and "classes" in conditioner and not conditioner.classes


def with_classes(config: DictConfig, split: ShardSet) -> DictConfig:
    """The configuration with the data's class names, where the conditioner needs them."""
    return stand_in_classes(config, split.classes) if wants_classes(config) else config


def stand_in_classes(config: DictConfig, classes: list[str] | tuple[str, ...]) -> DictConfig:
    """The configuration with these class names, where the conditioner needs names."""
    if not wants_classes(config):
        return config
    config = config.copy()
    config.conditioner.classes = list(classes)
    return config


def build_model(
    config: DictConfig, latent_shape: LatentShape, conditioner: Conditioner, trusted: bool = True
) -> DiffusionModel:
    """Diffusion model for latents of this shape and for this condition, of the class that the loss trains."""
    aligned = {"aligned_channels": conditioner.aligned_channels} if conditioner.aligned_channels else {}
    kind: type[DiffusionModel] = build(config, "loss", trusted=trusted).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config))
        backbone = build(
            config,
            "backbone",
            trusted=trusted,
            tokens=latent_shape.tokens,
            channels=latent_shape.channels,
            grid=latent_shape.grid,
            condition_width=check_key(config, "conditioner.width", Count),
            output_channels=kind.outputs * latent_shape.channels,
            **aligned,
        )
    return kind(backbone, build(config, "process", trusted=trusted), build(config, "parameterization", trusted=trusted))


def build_module(
    config: DictConfig, stage: str, latent_shape: LatentShape, conditioner: Conditioner
) -> DiffusionModule:
    """A denoiser of latents and how `training.<stage>` trains it."""
    return DiffusionModule(
        build_model(config, latent_shape, conditioner),
        conditioner,
        loss=build(config, "loss"),
        density=build(config, "density"),
        weighting=build(config, "weighting"),
        optimizer=build(config, f"training.{stage}.optimizer"),
        seed=seed_of(config),
    )


def build_generator(
    config: DictConfig, model: DiffusionModel, conditioner: Conditioner, shape: LatentShape, trusted: bool = True
) -> Generator:
    """Generator with the configuration's sampler and guidance. UserError where these cannot sample the model."""
    sampler: Sampler = build(config, "sampler", trusted=trusted)
    sampler.rehearse(type(model), model.process, model.parameterization)
    return Generator(
        model,
        conditioner,
        sampler,
        lambda scale: build(config, "guidance", trusted=trusted, scale=scale),
        shape,
    )
