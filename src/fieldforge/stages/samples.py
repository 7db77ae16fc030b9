"""The sample shards of a training, for autoencoder and prior."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.shards import NoSplitError, ShardSet, open_shards
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError
from fieldforge.stages.identity import without_places
from fieldforge.stages.training_run import plain

LEFT_OUT = ("root", "heldout_batch_size", "heldout_limit")
"""Settings of the data that say where they lie and how fast they are read."""


def sample_data(config: DictConfig, batch_size: int = 1) -> ShardDataModule:
    """Data module over the sample shards; by default one sample per batch."""
    data: ShardDataModule = build(config, "data", batch_size=batch_size)
    return data


def training_split(config: DictConfig) -> ShardSet:
    """The training samples at `data.root`. UserError where there are none."""
    settings = plain(config.data)
    return open_shards(settings["root"], settings.get("train_split", "train"))


def heldout_samples(config: DictConfig) -> int:
    """Number of held-out samples at `data.root`; 0 where nothing is held out."""
    settings = plain(config.data)
    try:
        return open_shards(settings["root"], settings.get("heldout_split", "heldout")).samples
    except NoSplitError:
        return 0


def data_fingerprint(config: DictConfig) -> dict[str, Any]:
    """The data's settings and checksum, without settings that change no batch."""
    settings = plain(config.data)
    shards = training_split(config)
    rest = {key: value for key, value in settings.items() if key not in LEFT_OUT}
    return {**without_places(rest), "fingerprint": [manifest.fingerprint for manifest in shards.manifests]}


def check_samples(config: DictConfig, data: ShardDataModule) -> None:
    """UserError unless shards of the domain's samples lie at `data.root`."""
    domain: Domain = build(config, "domain")
    schema = data.shards(data.train_split).schema
    if schema.kind != domain.schema.name:
        raise UserError(
            f"data.root={config.data.root} holds {schema.name} shards, and an autoencoder is trained on those of "
            f"prepare.py, {domain.schema.name}: give their folder"
        )
