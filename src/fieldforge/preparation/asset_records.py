"""Records of assets: their metadata before the geometry is read."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class AssetRecord:
    """One asset: its store, its file and its catalogue entry, as plain values, which are sent to workers.

    `rotation` (3, 3) turns the model upright and forward; each axis is scaled to `size_cm` (width, height, depth);
    `reject` is a reason for rejection from the catalogue.
    """

    id: str
    name: str
    archive: str  # the folder or zip that holds the file
    file: str
    source: str
    asset_class: str = "other"
    captions: tuple[str, ...] = ()
    names_by_language: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    licence: str = "unknown"
    creator: str = "unknown"
    split: str | None = None
    rotation: tuple[tuple[float, ...], ...] | None = None
    size_cm: tuple[float, float, float] | None = None
    reject: str | None = None
    revision: str = field(default="", compare=False)  # changes when the file does

    @property
    def key(self) -> str:
        """Name of the sample in its shard: the id with all but letters and digits as dashes, unique by a short hash."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.id.lower()).strip("-")[:60].strip("-")
        return f"{slug}-{hashlib.sha256(self.id.encode()).hexdigest()[:6]}"

    def meta(self, captions: Sequence[str], split: str) -> dict[str, Any]:
        """The entries of `meta.json` for assets of all kinds (`data.meta.COMMON_META`)."""
        by_language: dict[str, list[str]] = {}
        for language, name in self.names_by_language:
            by_language.setdefault(language, []).append(name)
        return {
            "id": self.id,
            "name": self.name,
            "class": self.asset_class,
            "captions": list(captions),
            "captions_by_language": by_language,
            "tags": list(self.tags),
            "source": self.source,
            "licence": self.licence,
            "creator": self.creator,
            "split": split,
        }


def stem(name: str) -> str:
    """The part of a name that variants share: lower case, cut at the first word that starts with a digit, without
    one-letter words.

    >>> stem("Sofa 3 seats"), stem("Rounded type B plug"), stem("Concept Sedan 02 Sport")
    ('sofa', 'rounded type plug', 'concept sedan')
    """
    words: list[str] = []
    for word in re.findall(r"[^\W_]+", name.lower()):
        if word[0].isdigit():
            if words:
                break
            continue
        word = re.sub(r"\d+", "", word)
        if len(word) > 1:
            words.append(word)
    return " ".join(words) or name.lower().strip()


def split_of(name: str, heldout_share: float) -> str:
    """`heldout` for a fixed share of all name stems, else `train`: the same for a name in every run and library."""
    return "heldout" if hash_of(stem(name)) < heldout_share * 2**64 else "train"


def hash_of(text: str) -> int:
    """A number below 2**64 that only the text determines."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def generator_for(seed: int, asset_id: str) -> np.random.Generator:
    """A random generator that depends on the seed and the asset alone, not on worker or time."""
    digest = hashlib.sha256(asset_id.encode()).digest()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *np.frombuffer(digest, "<u4").tolist()])))
