"""The stage of the latent cache: encodes every sample once, into latent shards that name their autoencoder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.dealt_shards import DealtShards, Part
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import MANIFEST_NAME
from fieldforge.data.shards import open_shards
from fieldforge.data.tar_members import stored_bytes
from fieldforge.data.transforms import Key, Meta, Transform
from fieldforge.domains.domain import Domain
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.stages.autoencoder_stage import finished_config, finished_file, input_example, load_autoencoder
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.encoding import encoding_on, stop_on_request
from fieldforge.stages.fingerprint import fingerprint
from fieldforge.stages.samples import data_fingerprint, sample_data
from fieldforge.stages.stage import Results, Stage, StageResult
from fieldforge.stages.work import Encoding, Sizes
from fieldforge.storage.lock import scope
from fieldforge.storage.output import LocalOutput
from fieldforge.terminal import status
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
SHARD = 256  # latents a shard
DESCRIPTION, HEADER = 512, 128  # bytes of a usual meta.json, and of what precedes the numbers of an array


class LatentStage(Stage):
    """Latent shards of all splits, encoded by the finished autoencoder; existing shards are reused and completed."""

    kind = "latents"
    noun = "a folder of latents"
    needs = ("autoencoder",)
    blocks = ("domain", "data")

    def after(self, sizes: Sizes) -> Sizes:
        shards = sizes.shards if sizes.samples is None else -(-sizes.samples // SHARD)
        assert sizes.latent_shape is not None
        return replace(sizes, shards=shards, sample_bytes=latent_bytes(sizes.latent_shape))

    def work(self, sizes: Sizes) -> Encoding:
        finished = finished_file(self.config)
        config = finished_config(finished) if finished else self.config
        assert sizes.latent_shape is not None
        written = latent_bytes(sizes.latent_shape)
        return Encoding(lambda: build(config, "autoencoder", trusted=not finished), input_example(self.config), written)

    def check(self) -> None:
        _ = self.encoding  # a mistake there is met before the first stage

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
        if ranks.first_alone(lambda: "whole" if (folder / MANIFEST_NAME).is_file() else ""):  # all must see the same
            log.info("latents: encoded already, reused from %s", folder)
        else:
            work = EncodingProcess(self.title, sample_data(self.config), domain, self.device, self.encoding.batch_size)
            encode_all(work, autoencoder_run, folder, settings)
        return StageResult(self.name, folder)


def latent_bytes(shape: LatentShape) -> int:
    """Bytes of a stored latent: float32 (T, C), with its description."""
    return stored_bytes(DESCRIPTION, HEADER + 4 * shape.tokens * shape.channels)


@scope()
def encode_all(work: EncodingProcess, autoencoder_run: StageDirectory, folder: Path, settings: dict[str, Any]) -> None:
    """Write the missing latent shards of all splits, each process its own, and their manifest. A collective."""
    manifests = open_shards(work.data.root, work.data.train_split).manifests
    splits = sorted({split for manifest in manifests for split in manifest.shards.splits})
    samples = {split: work.data.shards(split).samples for split in splits}
    shards = DealtShards(LocalOutput(folder), LATENT, settings, samples, SHARD)
    ranks.first_alone(lambda: shards.begin("output_root"))
    autoencoder, _ = load_autoencoder(autoencoder_run.model, work.device)
    with encoding_on(work.device, work.batch_size):
        ranks.shared(lambda: shards.write(ranks.rank(), ranks.world(), partial(work.encoded, autoencoder)))
    extra = {
        "classes": sum((Counter(manifest.extra.get("classes", {})) for manifest in manifests), Counter()),
        "latent_mean": autoencoder.latent_mean.tolist(),
        "latent_std": autoencoder.latent_std.tolist(),
    }
    ranks.first_alone(lambda: shards.finish(extra).fingerprint)
    log.info("latents: in %s", folder)


@dataclass(frozen=True)
class EncodingProcess:
    """How a process encodes samples.

    Args:
        title: of its progress.
        data, domain: of the samples.
        device: on which the autoencoder is.
        batch_size: samples at a time.
    """

    title: str
    data: ShardDataModule
    domain: Domain
    device: torch.device
    batch_size: int

    @torch.no_grad()
    def encoded(self, autoencoder: Autoencoder, parts: Sequence[Part]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key and members of every sample of these shards, in order; batches begin with a shard."""
        transforms: list[Transform] = [*self.domain.input_transforms(), Meta(), Key()]
        done, total = 0, sum(map(len, parts))
        several = f" in each of {ranks.world()} processes" if ranks.world() > 1 else ""
        for split, own in groupby(parts, lambda part: part.split):
            spans = [(part.first, part.last) for part in own]
            for batch in self.data.spans_loader(split, spans, transforms, self.batch_size):
                stop_on_request()
                fields = {name: batch[name] for name in autoencoder.reads if name in batch}
                latents = autoencoder.encode(move_data_to_device(fields, self.device)).cpu()  # (B, T, C)
                for key, meta, latent in zip(batch["key"], batch["meta"], latents, strict=True):
                    yield key, {"meta.json": meta, "latent.npy": latent.numpy()}
                done += len(batch["key"])
                status(f"{self.title}: {done}/{total}{several}")
        status("")
