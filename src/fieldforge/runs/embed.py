"""`python prepare.py embed=text,image_features shards=…`: features of frozen encoders ahead of time."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.stored import embed_shards, embedding_folder
from fieldforge.configuration.build import build
from fieldforge.errors import UserError
from fieldforge.terminal import count, quantity

log = logging.getLogger(__name__)


def run_embedding(config: DictConfig) -> None:
    """Embeds `config.shards` by the sources that `config.embed` names, as `config.conditioner` sets them.

    Raises:
        UserError: no such source, a missing encoder, features of another encoder in the place.
    """
    wanted = config.embed
    names = list(wanted) if isinstance(wanted, ListConfig) else [name.strip() for name in str(wanted).split(",")]
    config = config.copy()
    # A class is looked up, not encoded; the projection's width does not matter here.
    if "class" in names:
        raise UserError("embed=class: class labels need no encoder, leave them out")
    config.conditioner.sources = names
    conditioner: Conditioner = build(config, "conditioner", width=1)
    for name, manifest in embed_shards(config.shards, conditioner, report=count).items():
        samples = sum(entry.samples for entry in manifest.shards)
        log.info(
            "%s: features of %s in %s", name, quantity(samples, "sample"), embedding_folder(Path(config.shards), name)
        )
