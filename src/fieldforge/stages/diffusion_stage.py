"""Stage 2: a diffusion model over cached latents, trained unless a finished one of the same configuration is there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.configuration.build import build
from fieldforge.configuration.stored import load_run, of_run, plain_config
from fieldforge.configuration.values import whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.lock import scope
from fieldforge.data.shards import open_shards
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.sampling import Sampling
from fieldforge.errors import UserError
from fieldforge.generation import Sampler, decode
from fieldforge.rendering.pictures import write_picture
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.conditions import conditions
from fieldforge.stages.continuation import stage_directory
from fieldforge.stages.directory import StageDirectory, load_weights
from fieldforge.stages.fingerprint import differences
from fieldforge.stages.training_run import build_with, embed_once, measure_vectors, plain, seeded, train
from fieldforge.training.callbacks.picture_log import Draw
from fieldforge.training.modules.conditional_module import ConditionalModule
from fieldforge.training.modules.diffusion_module import DiffusionModule
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
STAGE = "diffusion"


@scope()
def train_diffusion(config: DictConfig, autoencoder_run: StageDirectory, latents: Path) -> StageDirectory:
    """The directory of a finished diffusion model: reused, resumed or trained from the start.

    Raises:
        UserError: a wrong configuration, a directory that holds something else.
        Interrupted: a signal stopped it; its state is saved.
    """
    data = build(
        config, "latent_data", root=str(latents), batch_size=whole_number(config, f"training.{STAGE}.batch_size")
    )
    config = with_classes(config, data)
    conditioner: Conditioner = seeded(config, "conditioner")
    directory = stage_directory(
        config,
        STAGE,
        Path(config.output_dir) / config.name,
        determining(config, autoencoder_run, data, conditioner),
        build(config, f"training.{STAGE}.budget"),
    )
    if directory.finished:
        log.info("%s: finished already, reused from %s", STAGE, directory.path)
        return directory
    ranks.first_alone(lambda: directory.open(plain(config)))
    log.info("%s: in %s", STAGE, directory.path)
    embed_once(data.transforms, conditioner)
    measure_vectors(data, conditioner, directory)
    autoencoder, autoencoder_label = load_autoencoder(autoencoder_run.model)
    module = build_module(config, STAGE, autoencoder.latent_shape, conditioner)
    draw = pictures_of_prompts(config, data, autoencoder, **plain(config.monitor.pictures))
    trained = train(config, directory, module, data, draw)
    # One file holds all that sampling needs, so that a run can be moved.
    further = {
        "autoencoder": autoencoder_label,
        "autoencoder_state_dict": dict(autoencoder.state_dict()),
        "encoders": conditioner.fingerprint(),
    }
    ranks.first_alone(lambda: directory.save_model(trained.state_dict(), plain(config), **further))
    log.info("%s: finished, %s", STAGE, directory.model)
    return directory


def with_classes(config: DictConfig, data: ShardDataModule) -> DictConfig:
    """The configuration with the data's class names, where the conditioner knows classes and none are given."""
    if "class" not in config.conditioner.get("sources", []) or config.conditioner.get("classes"):
        return config
    config = config.copy()
    config.conditioner.classes = data.shards(data.train_split).classes
    return config


def determining(
    config: DictConfig, autoencoder_run: StageDirectory, data: ShardDataModule, conditioner: Conditioner
) -> dict[str, Any]:
    """What this stage's result depends on."""
    parts = ("conditioner", "process", "parameterization", "loss", "weighting", "density", "backbone")
    return {
        "stage": STAGE,
        "seed": config.seed,
        "autoencoder": autoencoder_run.fingerprint,
        "latents": [manifest.fingerprint for manifest in data.shards(data.train_split).manifests],
        "stages": {name: stage for name, stage in plain(config.latent_data.transforms).items() if stage is not None},
        "encoders": conditioner.fingerprint(),
        "training": plain(config.training[STAGE]),
        **{part: plain(config[part]) for part in parts},
    }


def build_model(config: DictConfig, latent_shape: tuple[int, int], trusted: bool = True) -> DiffusionModel:
    """Backbone, process and parameterization for latents (T, C), as the kind of model that the loss trains."""
    tokens, channels = latent_shape
    kind: type[DiffusionModel] = build(config, "loss", trusted=trusted).model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(whole_number(config, "seed", least=0))
        backbone = build(
            config,
            "backbone",
            trusted=trusted,
            tokens=tokens,
            channels=channels,
            condition_width=whole_number(config, "conditioner.width"),
            output_channels=kind.outputs * channels,
        )
    return kind(backbone, build(config, "process", trusted=trusted), build(config, "parameterization", trusted=trusted))


def build_module(
    config: DictConfig, stage: str, latent_shape: tuple[int, int], conditioner: Conditioner
) -> DiffusionModule:
    """A denoiser of latents (T, C) and how `training.<stage>` trains it."""
    return DiffusionModule(
        build_model(config, latent_shape),
        conditioner,
        loss=build(config, "loss"),
        density=build_with(config, "density", {"tokens": latent_shape[0]}),
        weighting=build(config, "weighting"),
        optimizer=build(config, f"training.{stage}.optimizer"),
        seed=whole_number(config, "seed", least=0),
    )


def build_sampler(
    config: DictConfig, model: DiffusionModel, conditioner: Conditioner, shape: tuple[int, int], trusted: bool = True
) -> Sampler:
    """Sampler with the configuration's times and guidance. UserError for one that cannot sample such a model."""
    sampling: Sampling = build(config, "sampler", trusted=trusted)
    sampling.rehearse(type(model), model.process, model.parameterization)
    return Sampler(
        model,
        conditioner,
        sampling,
        lambda scale: build(config, "guidance", trusted=trusted, scale=scale),
        shape,
    )


def load_diffusion(
    path: Path, overrides: DictConfig | None = None, device: torch.device | str = "cpu"
) -> tuple[Sampler, Autoencoder, dict[str, Any]]:
    """Sampler and autoencoder of a finished run from its `model.ckpt`, in evaluation mode, with its label.

    Args:
        path: of the checkpoint.
        overrides: blocks `sampler` and `guidance`: whole ones replace the stored, others change single values in them.
        device: to load to.

    Raises:
        UserError: missing, damaged, of another stage, its stored configuration names foreign code, or the condition's
            encoders are not those that it was trained with.
    """
    weights, label = load_run(path, STAGE, device)
    config = plain_config(label["config"])
    with of_run(path):
        stored = plain_config(label["autoencoder"]["config"])
        autoencoder: Autoencoder = build(stored, "autoencoder", trusted=False)
        conditioner: Conditioner = build(config, "conditioner", trusted=False)
        model = build_model(config, autoencoder.latent_shape, trusted=False)
        changed = differences(conditioner.fingerprint(), label["encoders"])
    load_weights(autoencoder, label["autoencoder_state_dict"], path)
    load_weights(torch.nn.ModuleDict({"model": model, "conditioner": conditioner}), weights, path)
    if changed:
        raise UserError(
            f"{path} was trained with other condition encoders than are found here ({'; '.join(changed)}): install "
            "those, or train it again"
        )
    for part in (autoencoder, conditioner, model):
        part.to(device).eval()
    with of_run(path):
        for name, block in (overrides or {}).items():
            config[name] = block if "_target_" in block else OmegaConf.merge(config[name], block)
        sampler = build_sampler(config, model, conditioner, autoencoder.latent_shape, trusted=False)
    return sampler, autoencoder, label


def pictures_of_prompts(
    config: DictConfig,
    data: ShardDataModule,
    autoencoder: Autoencoder,
    shapes: int,
    size: int,
    resolution: int,
    seeds: int = 2,
    steps: int = 12,
    scale: float = 3.0,
) -> Draw:
    """Draws what the first training captions, or views of the first held-out assets, give: a column for each seed."""

    def draw(module: pl.LightningModule, path: Path) -> None:
        assert isinstance(module, ConditionalModule)
        quick = OmegaConf.merge(config, {"sampler": {"steps": steps}})
        assert isinstance(quick, DictConfig)
        sampler = build_sampler(quick, module.model, module.conditioner, autoencoder.latent_shape)
        seen = "image" in sampler.keys  # latent shards have no views
        shards = open_shards(config.data.root, data.shown_split) if seen else data.shards(data.train_split)
        asked = conditions(shards, sampler.keys, shapes)
        batch = {key: [value for value in asked[key] for _ in range(seeds)] for key in sampler.keys}
        latents = sampler(batch, [seed for _ in asked["meta"] for seed in range(seeds)], scale)  # (B, T, C)
        made = decode(autoencoder.to(module.device), latents)
        pictures = [portrait(made.mesh(index, resolution), size) for index in range(len(made))]
        given = [[Image.fromarray(pixels)] for pixels in asked["image"]] if seen else [[] for _ in asked["meta"]]
        rows = [[*first, *pictures[seeds * row : seeds * (row + 1)]] for row, first in enumerate(given)]
        columns = [*(["given"] if seen else []), *(f"seed {seed}" for seed in range(seeds))]
        write_picture(picture_sheet(rows, asked["caption"], columns, cell=size), path)

    return draw
