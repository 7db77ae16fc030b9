"""The stage of the latent cache: encodes every sample once, into latent shards that name their autoencoder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import MANIFEST_NAME, write_manifest
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Key, Meta, Transform, apply_transforms
from fieldforge.data.writer import ShardWriter
from fieldforge.domains.domain import Domain
from fieldforge.stages.autoencoder_stage import finished_config, finished_file, load_autoencoder
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.fingerprint import fingerprint
from fieldforge.stages.samples import data_fingerprint, sample_data
from fieldforge.stages.stage import Results, Stage, StageResult
from fieldforge.stages.training_run import stop_on_request
from fieldforge.stages.work import Encoding, Sizes
from fieldforge.storage.lock import scope, take
from fieldforge.terminal import status
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
SHARD = 256  # latents a shard
BATCH = 8


class LatentStage(Stage):
    """Latent shards of all splits, encoded by the finished autoencoder; existing shards are reused and completed."""

    kind = "latents"
    noun = "a folder of latents"
    needs = ("autoencoder",)
    blocks = ("domain", "data")

    def after(self, sizes: Sizes) -> Sizes:
        shards = sizes.shards if sizes.samples is None else -(-sizes.samples // SHARD)
        return Sizes(**{**vars(sizes), "shards": shards})

    def work(self, sizes: Sizes) -> Encoding:
        domain: Domain = build(self.config, "domain")
        finished = finished_file(self.config)
        config = finished_config(finished) if finished else self.config

        fields = apply_transforms(domain.example(), domain.input_transforms(), np.random.default_rng(0))
        return Encoding(lambda: build(config, "autoencoder", trusted=not finished), lambda: random_batch(fields))

    def run(self, results: Results) -> StageResult:
        """Raises Interrupted after a signal: finished shards stay and are not encoded again."""
        autoencoder_run = results["autoencoder"].run
        domain: Domain = build(self.config, "domain")
        settings = {
            "autoencoder": autoencoder_run.fingerprint,
            "data": data_fingerprint(self.config),
            "input": domain.determining(),
            "seed": self.settings.seed,
        }
        folder = autoencoder_run.path / "latents" / fingerprint(settings)
        if (folder / MANIFEST_NAME).is_file():
            log.info("latents: encoded already, reused from %s", folder)
        else:
            data = sample_data(self.config)
            ranks.first_alone(lambda: encode_all(self.title, data, domain, autoencoder_run, folder, settings))
        return StageResult(self.name, folder)


def random_batch(fields: Mapping[str, Any]) -> dict[str, Tensor]:
    """One sample with random numbers in the place of each array: name → (1, …)."""
    return {name: torch.rand(1, *np.shape(value)) for name, value in fields.items()}


@scope()
def encode_all(
    title: str,
    data: ShardDataModule,
    domain: Domain,
    autoencoder_run: StageDirectory,
    folder: Path,
    settings: dict[str, Any],
) -> None:
    """Write the missing latent shards of all splits and their manifest; `title` names the progress."""
    take(folder)
    autoencoder, _ = load_autoencoder(autoencoder_run.model)
    manifests = open_shards(data.root, data.train_split).manifests
    splits = sorted({split for manifest in manifests for split in manifest.shards.splits})
    entries = []
    for split in splits:
        with ShardWriter(folder, LATENT, settings, SHARD, split) as writer:
            for key, meta, latent in encoded(title, autoencoder, data, domain, split, writer.finished_keys):
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
    title: str, autoencoder: Autoencoder, data: ShardDataModule, domain: Domain, split: str, finished: set[str]
) -> Iterator[tuple[str, dict[str, Any], Tensor]]:
    """(key, meta, latent (T, C)) of every sample of a split, in order; `finished` ones are not encoded."""
    transforms: list[Transform] = [*domain.input_transforms(), Meta(), Key()]
    samples = HeldOut(data.shards(split), transforms, seed=data.seed, batch_size=BATCH)
    encoded = 0
    for batch in samples:
        stop_on_request()
        if finished.issuperset(batch["key"]):
            latents = torch.zeros(len(batch["meta"]), *autoencoder.latent_shape[:2])
        else:
            latents = autoencoder.encode(batch)  # (B, T, C)
        yield from zip(batch["key"], batch["meta"], latents, strict=True)
        encoded += len(batch["meta"])
        status(f"{title}: {split} {encoded}/{samples.samples}")
    status("")
