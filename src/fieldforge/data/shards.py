"""The shards that a stream reads: from one or several folders, each with its manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fieldforge.data.manifest import Manifest, ShardEntry, read_manifest
from fieldforge.data.schema import Schema
from fieldforge.data.store import LocalStore, Store
from fieldforge.errors import UserError


@dataclass(frozen=True)
class ShardSet:
    """Shards in a fixed order: `shards[i]` is the store and the manifest's entry of shard i."""

    schema: Schema
    located: tuple[tuple[Store, ShardEntry], ...]
    manifests: tuple[Manifest, ...]

    def __getitem__(self, shard: int) -> tuple[Store, ShardEntry]:
        return self.located[shard]

    def __len__(self) -> int:
        return len(self.located)

    @cached_property
    def samples_per_shard(self) -> np.ndarray:  # (F,)
        return np.array([entry.samples for _, entry in self.located], np.int32)

    @property
    def samples(self) -> int:
        return int(self.samples_per_shard.sum(dtype=np.int64))


def open_shards(roots: str | Path | Sequence[str | Path], split: str) -> ShardSet:
    """Shards of one split in one or several places. UserError if a manifest is missing, or the schemas differ."""
    places = [roots] if isinstance(roots, str | Path) else list(roots)
    if not places:
        raise UserError("data.root names no place to read shards from; give it a folder of shards.")
    manifests = [read_manifest(place) for place in places]
    schema = manifests[0].schema
    located: list[tuple[Store, ShardEntry]] = []
    for place, manifest in zip(places, manifests, strict=True):
        if manifest.schema != schema:
            raise UserError(
                f"{place}: holds {manifest.schema.name} shards, but {places[0]} holds {schema.name} shards; "
                "read one kind at a time."
            )
        store = LocalStore(place)
        located += [(store, entry) for entry in manifest.split(split)]
    return ShardSet(schema, tuple(located), tuple(manifests))
