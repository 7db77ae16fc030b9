"""Stage 1: an autoencoder, trained unless a finished one of the same configuration lies there already."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.configuration.stored import load_run, of_run, plain_config
from fieldforge.configuration.values import whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.lock import scope
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Surface
from fieldforge.errors import UserError
from fieldforge.generation import reconstruct
from fieldforge.rendering.pictures import write_picture
from fieldforge.stages.continuation import stage_directory
from fieldforge.stages.directory import MODEL, StageDirectory, load_weights
from fieldforge.stages.shape_truth import TrueViews, reconstruction_rows, reconstruction_sheet
from fieldforge.stages.training_run import plain, seeded, stop_if_asked, train
from fieldforge.training.callbacks.picture_log import Draw
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
STAGE = "autoencoder"


@scope()
def train_autoencoder(config: DictConfig) -> StageDirectory:
    """The directory of a finished autoencoder: reused, resumed or trained from the start.

    Raises:
        UserError: missing data, a wrong configuration, a directory that holds something else.
        Interrupted: a signal stopped it; its state is saved.
    """
    if config.get("autoencoder_run"):
        return given_autoencoder(config)
    directory = stage_directory(
        config,
        STAGE,
        Path(config.output_dir) / config.autoencoder_name,
        determining(config),
        build(config, f"training.{STAGE}.budget"),
    )
    if directory.finished:
        log.info("%s: finished already, reused from %s", STAGE, directory.path)
        return directory
    ranks.first_alone(lambda: directory.open(plain(config)))
    log.info("%s: in %s", STAGE, directory.path)
    module = build_module(config)
    data = sample_data(config)
    trained = train(config, directory, module, data, pictures_of_heldout(data, **plain(config.monitor.pictures)))
    assert isinstance(trained, AutoencoderModule)

    def finish() -> None:
        measure_statistics(trained.autoencoder.eval(), data, whole_number(config, "latents.points"))
        directory.save_model(trained.autoencoder.state_dict(), plain(config))

    ranks.first_alone(finish)
    log.info("%s: finished, %s", STAGE, directory.model)
    return directory


def build_module(config: DictConfig) -> AutoencoderModule:
    """An autoencoder and how `training.autoencoder` trains it."""
    return AutoencoderModule(
        seeded(config, "autoencoder"),
        loss=build(config, "autoencoder_loss"),
        optimizer=build(config, f"training.{STAGE}.optimizer"),
        seed=whole_number(config, "seed", least=0),
    )


def determining(config: DictConfig) -> dict[str, Any]:
    """What this stage's result depends on: data, model, loss, training, seed. Not hardware, not logging."""
    return {
        "stage": STAGE,
        "seed": config.seed,
        "data": data_fingerprint(config),
        "autoencoder": plain(config.autoencoder),
        "autoencoder_loss": plain(config.autoencoder_loss),
        "training": plain(config.training[STAGE]),
        "latents": plain(config.latents),
    }


def data_fingerprint(config: DictConfig) -> dict[str, Any]:
    """The data's settings without those that only say where it lies and how fast it is read, and its checksum."""
    settings = plain(config.data)
    roots = settings.pop("root")
    for name in (
        "batch_size",
        "heldout_transforms",
        "heldout_batch_size",
        "heldout_limit",
    ):
        settings.pop(name, None)
    shards = open_shards(roots, settings.get("train_split", "train"))
    return {**settings, "fingerprint": [manifest.fingerprint for manifest in shards.manifests]}


def check_samples(config: DictConfig, data: ShardDataModule) -> None:
    """UserError unless shards of samples lie at `data.root`."""
    schema = data.shards(data.train_split).schema
    if schema.name != SAMPLE.name:
        raise UserError(
            f"data.root={config.data.root} holds {schema.name} shards, and an autoencoder is trained on those of "
            f"prepare.py, {SAMPLE.name}: give their folder"
        )


def sample_data(config: DictConfig) -> ShardDataModule:
    """Data module over the sample shards, as stage 1 reads them."""
    return build(
        config,
        "data",
        batch_size=whole_number(config, f"training.{STAGE}.batch_size"),
        seed=whole_number(config, "seed", least=0),
    )


def given_autoencoder(config: DictConfig) -> StageDirectory:
    """The autoencoder in `autoencoder_run`, whatever it was trained on; that is not looked at."""
    path = Path(config.autoencoder_run)
    label = given_label(path)
    return StageDirectory(STAGE, path, label["config"], label["fingerprint"])


def given_autoencoder_config(config: DictConfig) -> DictConfig:
    """The stored configuration of the autoencoder in `autoencoder_run`."""
    return plain_config(given_label(Path(config.autoencoder_run))["config"])


def given_label(path: Path) -> dict[str, Any]:
    """The label of the autoencoder in the directory that `autoencoder_run` names."""
    if not (path / MODEL).is_file():
        raise UserError(f"autoencoder_run={path} has no finished {MODEL}: give the directory of a finished autoencoder")
    return load_run(path / MODEL, STAGE)[1]


def load_autoencoder(path: Path, device: torch.device | str = "cpu") -> tuple[Autoencoder, dict[str, Any]]:
    """A finished autoencoder from its `model.ckpt`, in evaluation mode, with its label (config, fingerprint, …).

    Raises:
        UserError: missing, damaged, of another stage, or its stored configuration names foreign code.
    """
    weights, label = load_run(path, STAGE, device)
    with of_run(path):
        autoencoder: Autoencoder = build(plain_config(label["config"]), "autoencoder", trusted=False)
    load_weights(autoencoder, weights, path)
    return autoencoder.to(device).eval(), label


def pictures_of_heldout(data: ShardDataModule, shapes: int, size: int, resolution: int, points: int = 4096) -> Draw:
    """Draws truth, mesh and volume view of the first held-out (if there are none: training) shapes side by side."""

    def draw(module: pl.LightningModule, path: Path) -> None:
        assert isinstance(module, AutoencoderModule)
        heldout = HeldOut(
            data.shards(data.shown_split),
            [Surface(points), TrueViews(), Meta()],
            seed=0,
            batch_size=shapes,
            limit=shapes,
        )
        batch = next(iter(heldout))
        rebuilt = reconstruct(module.autoencoder, batch["input"].to(module.device))
        rows = reconstruction_rows(rebuilt, batch, size, resolution)
        write_picture(reconstruction_sheet(rows, [meta["name"] for meta in batch["meta"]], size), path)

    return draw


@torch.no_grad()
def measure_statistics(autoencoder: Autoencoder, data: ShardDataModule, points: int, batch_size: int = 8) -> None:
    """Set the autoencoder's latent mean and standard deviation (C,) from one pass over the training split."""
    channels = autoencoder.latent_shape[1]
    total, squares = torch.zeros(2, channels, dtype=torch.float64)  # (C,) each
    count = 0
    samples = HeldOut(data.shards(data.train_split), [Surface(points)], seed=data.seed, batch_size=batch_size)
    for batch in samples:
        stop_if_asked()
        latents = autoencoder.encode(batch["input"]).double().flatten(0, 1)  # (B · T, C)
        total, squares, count = total + latents.sum(0), squares + latents.square().sum(0), count + len(latents)
    mean = total / count
    autoencoder.set_statistics(mean, (squares / count - mean**2).clamp(min=0).sqrt())
