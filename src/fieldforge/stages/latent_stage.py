"""Between the stages: every asset's latent, once, as latent shards that name the autoencoder they came from."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.values import whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.lock import scope, take
from fieldforge.data.manifest import MANIFEST_NAME, write_manifest
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Surface
from fieldforge.data.writer import ShardWriter
from fieldforge.stages.autoencoder_stage import data_fingerprint, load_autoencoder, sample_data
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.fingerprint import fingerprint
from fieldforge.stages.shape_truth import Key
from fieldforge.stages.training_run import stop_if_asked
from fieldforge.terminal import status
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
SHARD = 256  # latents a shard
BATCH = 8


def cache_latents(config: DictConfig, autoencoder_run: StageDirectory) -> Path:
    """Folder of latent shards of all splits, encoded by the finished autoencoder; reused or completed if it is there.

    Raises:
        Interrupted: a signal stopped it; finished shards stay and are not encoded again.
    """
    points = whole_number(config, "latents.points")
    settings = {
        "autoencoder": autoencoder_run.fingerprint,
        "data": data_fingerprint(config),
        "points": points,
        "seed": whole_number(config, "seed", least=0),
    }
    folder = autoencoder_run.path / "latents" / fingerprint(settings)
    if (folder / MANIFEST_NAME).is_file():
        log.info("latents: encoded already, reused from %s", folder)
        return folder
    ranks.first_alone(lambda: encode_all(config, autoencoder_run, folder, settings, points))
    return folder


@scope()
def encode_all(
    config: DictConfig, autoencoder_run: StageDirectory, folder: Path, settings: dict[str, Any], points: int
) -> None:
    """Write the latent shards of all splits that are not there yet, and their manifest."""
    take(folder)
    autoencoder, _ = load_autoencoder(autoencoder_run.model)
    data = sample_data(config)
    manifests = open_shards(data.root, data.train_split).manifests
    splits = sorted({split for manifest in manifests for split in manifest.shards.splits})
    entries = []
    for split in splits:
        with ShardWriter(folder, LATENT, settings, SHARD, split) as writer:
            for key, meta, latent in encoded(autoencoder, data, split, points, writer.finished_keys):
                writer.write(key, {"meta.json": meta, "latent.npy": latent.numpy()})
        entries += writer.entries
    extra = {
        "classes": sum((Counter(manifest.extra.get("classes", {})) for manifest in manifests), Counter()),
        "latent_mean": autoencoder.latent_mean.tolist(),
        "latent_std": autoencoder.latent_std.tolist(),
    }
    write_manifest(folder, LATENT, settings, entries, extra)
    log.info("latents: in %s", folder)


@torch.no_grad()
def encoded(
    autoencoder: Autoencoder, data: ShardDataModule, split: str, points: int, finished: set[str]
) -> Iterator[tuple[str, dict[str, Any], Tensor]]:
    """(key, meta, latent (T, C)) of every sample of a split, in order; `finished` ones are not encoded."""
    samples = HeldOut(data.shards(split), [Surface(points), Meta(), Key()], seed=data.seed, batch_size=BATCH)
    done = 0
    for batch in samples:
        stop_if_asked()
        if finished.issuperset(batch["key"]):
            latents = torch.zeros(len(batch["meta"]), *autoencoder.latent_shape)
        else:
            latents = autoencoder.encode(batch["input"])  # (B, T, C)
        yield from zip(batch["key"], batch["meta"], latents, strict=True)
        done += len(batch["meta"])
        status(f"latents: {split} {done}/{samples.samples}")
    status("")
