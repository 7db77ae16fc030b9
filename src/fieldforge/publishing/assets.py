"""The training assets of a model, and whether their licences permit its distribution."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta

FREE = re.compile(r"(CC0|CC[- ]BY(?![- ]?(SA|NC|ND))|Apache|MIT)\b", re.IGNORECASE)
"""Licences that let a model trained on an asset be given away, with its creator's name."""


@dataclass(frozen=True, order=True)
class Asset:
    """One line of the list."""

    name: str
    creator: str
    licence: str
    id: str


def training_assets(root: Any) -> list[Asset]:
    """Assets of the training split in the shards at `root`, by name. UserError where there are none."""
    samples = HeldOut(open_shards(root, "train"), [Meta()], seed=0, batch_size=64)
    metas = [meta for batch in samples for meta in batch["meta"]]
    return sorted(Asset(*(str(meta[field.name]) for field in fields(Asset))) for meta in metas)


def licences(assets: Sequence[Asset]) -> Counter[str]:
    """Licence → assets."""
    return Counter(asset.licence or "none" for asset in assets)


def unfree(assets: Sequence[Asset]) -> list[str]:
    """Licences outside of the known ones that permit distribution of a model."""
    return sorted(licence for licence in licences(assets) if not FREE.match(licence))


def table(assets: Sequence[Asset]) -> bytes:
    """The list as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Asset))
    writer.writerows(map(astuple, assets))
    return text.getvalue().encode()
