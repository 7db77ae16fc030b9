"""Body of `prepare.py embed=text,image_features shards=…`: stores features of frozen encoders beside the shards."""

from __future__ import annotations

import logging

from omegaconf import DictConfig, ListConfig

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.stored import embed_shards, embedding_folder
from fieldforge.configuration.build import build
from fieldforge.errors import UserError
from fieldforge.terminal import count, quantity
from fieldforge.training.processes.hardware import best_device

log = logging.getLogger(__name__)


def run_embedding(config: DictConfig) -> None:
    """Embed the shards `config.shards` with the sources `config.embed` of `config.conditioner`.

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
    conditioner: Conditioner = build(config, "conditioner", width=1)
    conditioner.to(best_device(config.device))
    for name, manifest in embed_shards(config.shards, conditioner, report=count).items():
        samples = sum(entry.samples for entry in manifest.shards)
        log.info("%s: features of %s in %s", name, quantity(samples, "sample"), embedding_folder(config.shards, name))
