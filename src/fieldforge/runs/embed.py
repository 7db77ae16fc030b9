"""Body of `prepare.py embed=text,image_features shards=…`: stores features of frozen encoders beside the shards."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from functools import lru_cache, partial

from omegaconf import DictConfig, ListConfig, OmegaConf

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.stored import EmbeddedShards, embed_shards, embedding_folder
from fieldforge.configuration.build import build
from fieldforge.data.manifest import Manifest
from fieldforge.engines.engine import Engine, LocalEngine, Lost
from fieldforge.errors import UserError
from fieldforge.storage import lock
from fieldforge.storage.cloud import is_remote
from fieldforge.terminal import count, quantity
from fieldforge.training.processes.hardware import best_device

log = logging.getLogger(__name__)


def run_embedding(config: DictConfig) -> None:
    """Embed the shards `config.shards` with the sources `config.embed` of `config.conditioner`, over `config.engine`.

    Raises:
        UserError: an unknown source, a missing encoder, or stored features of another encoder.
    """
    wanted = config.embed
    names = list(wanted) if isinstance(wanted, ListConfig) else [name.strip() for name in str(wanted).split(",")]
    config = config.copy()
    # A class label needs no encoder. The width of the projection does not affect the features.
    if "class" in names:
        raise UserError("embed=class: class labels need no encoder, leave them out")
    config.conditioner.sources = names
    block = json.dumps(OmegaConf.to_container(config.conditioner, resolve=True))
    conditioner, engine = _conditioner(block, config.device), build(config, "engine")
    if isinstance(engine, LocalEngine):
        manifests = embed_shards(config.shards, conditioner, report=count)
    else:
        manifests = {name: _embed_on(engine, config, block, name) for name in conditioner.names}
    for name, manifest in manifests.items():
        samples = sum(entry.samples for entry in manifest.shards)
        log.info("%s: features of %s in %s", name, quantity(samples, "sample"), embedding_folder(config.shards, name))


@lru_cache(maxsize=1)
def _conditioner(block: str, device: str) -> Conditioner:
    """The conditioner of a block in JSON; a worker builds it once."""
    conditioner: Conditioner = build(OmegaConf.create({"conditioner": json.loads(block)}), "conditioner", width=1)
    conditioner.to(best_device(device))
    return conditioner


@lock.scope()
def _embed_on(engine: Engine, config: DictConfig, block: str, name: str) -> Manifest:
    """The manifest of a source's features, whose shards the machines of the engine write."""
    root = config.shards if is_remote(config.shards) else os.path.abspath(config.shards)
    shards = EmbeddedShards(root, _conditioner(block, config.device), name)
    shards.begin()
    sizes, missing = list(map(len, shards.shards.parts)), shards.missing
    done = sum(sizes) - sum(sizes[number] for number in missing)
    for event in engine.run(partial(_embed_parts, block, config.device, root, name), [[number] for number in missing]):
        if isinstance(event, Lost):
            raise Lost.unfinished(f"embed shard {event.item} for embed={name}")
        done += 0 if event is None else sizes[event]
        count(f"{name}, {engine.about()}", done, sum(sizes))
    return shards.finish()


def _embed_parts(block: str, device: str, root: str, name: str, numbers: list[int]) -> Iterator[int]:
    """Runs in a worker: writes these parts; the number of each that is written."""
    shards = EmbeddedShards(root, _conditioner(block, device), name)
    for number in numbers:
        shards.write(number, len(shards.shards.parts))
        yield number
