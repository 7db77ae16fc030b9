"""The shards of a stream: from one or several places, each with its manifest."""

import fnmatch
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path

import numpy as np

from fieldforge.data.cache import Cache
from fieldforge.data.foreign_index import is_foreign, open_foreign
from fieldforge.data.manifest import MANIFEST_NAME, Manifest, load_manifest
from fieldforge.data.schema import Schema
from fieldforge.data.table import ShardEntry, ShardTable
from fieldforge.errors import UserError
from fieldforge.storage.cloud import ObjectStore, Patience, check_address, is_remote
from fieldforge.storage.store import LocalStore, Store


@dataclass(frozen=True)
class Place:
    """Shards of one store: those in the rows `rows (F,)` of its manifest's table."""

    store: Store
    table: ShardTable
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, shard: int) -> tuple[Store, ShardEntry]:
        return self.store, self.table[int(self.rows[shard])]


@dataclass(frozen=True)
class ShardSet:
    """Shards in a fixed order: `shards[i]` is the store and the manifest's entry of shard i."""

    schema: Schema
    places: tuple[Place, ...]
    manifests: tuple[Manifest, ...]

    @cached_property
    def _ends(self) -> list[int]:
        return np.cumsum([len(place) for place in self.places]).tolist()

    def __getitem__(self, shard: int) -> tuple[Store, ShardEntry]:
        number = bisect_right(self._ends, shard)
        return self.places[number][shard - (self._ends[number - 1] if number else 0)]

    def __len__(self) -> int:
        return self._ends[-1]

    def __iter__(self) -> Iterator[tuple[Store, ShardEntry]]:
        return map(self.__getitem__, range(len(self)))

    @cached_property
    def samples_per_shard(self) -> np.ndarray:  # (F,)
        return np.concatenate([place.table.samples[place.rows] for place in self.places])

    @property
    def samples(self) -> int:
        return int(self.samples_per_shard.sum(dtype=np.int64))

    @property
    def bytes(self) -> int:
        """Of all shards together."""
        return sum(int(place.table.bytes[place.rows].sum(dtype=np.int64)) for place in self.places)

    @property
    def classes(self) -> list[str]:
        """Names of the classes that the first place counts, sorted. UserError for one that reads as a reference."""
        names = sorted(self.manifests[0].extra.get("classes", {}))
        for name in names:
            if "${" in name:  # it becomes a part of the configuration, where that would be looked up
                raise UserError(
                    f"{self.places[0].store.url}: the class {name!r} holds '${{'; prepare with another name."
                )
        return names

    @property
    def is_remote(self) -> bool:
        return not all(isinstance(place.store, LocalStore) for place in self.places)


class NoSplitError(UserError):
    """There are shards, but none of the requested split."""


def open_shards(
    roots: str | Path | Sequence[str | Path],
    split: str,
    cache: Cache | None = None,
    *,
    store: Store | None = None,
    patience: Patience | None = None,
) -> ShardSet:
    """Shards of one split in one or several places.

    A place is a folder (local, `s3://`, `gs://`, `https://`), the manifest in it, or a pattern of shards in it with
    `*`, `?`, `{000..017}`, `{a,b}`; folders may be patterns too. Only shards that a manifest lists are read.
    Raises NoSplitError if no shard is of this split, UserError if a manifest is missing, nothing matches, or schemas
    differ.
    """
    places: list[Place] = []
    manifests: list[Manifest] = []
    for folder, names in _patterns(roots).items():
        reading: Store = store or (ObjectStore(folder, patience) if is_remote(folder) else _local_store(folder))
        manifest = load_manifest(reading)
        manifests.append(manifest)
        if manifest.schema != manifests[0].schema:
            raise UserError(
                f"{folder}: holds {manifest.schema.name} shards, but the others hold {manifests[0].schema.name} "
                "shards; read one kind at a time."
            )
        rows = _matching(manifest.shards, manifest.shards.of_split(split), names, folder)
        if len(rows) and cache and isinstance(reading, ObjectStore):
            reading = cache.wrap(reading, manifest.shards, rows)
        if len(rows):
            places.append(Place(reading, manifest.shards, rows))
    if not places:
        known = sorted({name for manifest in manifests for name in manifest.shards.splits})
        raise NoSplitError(
            f"data.root={roots}: there is no shard of split '{split}', only of {known}; choose one of these."
        )
    return ShardSet(manifests[0].schema, tuple(places), tuple(manifests))


def _patterns(roots: str | Path | Sequence[str | Path]) -> dict[str, list[str]]:
    """Folder → patterns of shard names in it, of all places. UserError where there is none, or none of an address."""
    locations = [roots] if isinstance(roots, str | Path) else list(roots)
    folders = [whole for place in locations for part in spelled_out(str(place)) for whole in _folders(part)]
    if not folders or not all(str(place).strip() for place in locations):
        raise UserError(f"data.root={roots}: names no place to read shards from; give it a folder of shards.")
    for place in folders:
        check_address(place)
    patterns: dict[str, list[str]] = {}
    for folder, name in map(folder_and_names, folders):
        patterns.setdefault(folder, []).append(name)
    return patterns


def _local_store(folder: str) -> LocalStore:
    return open_foreign(Path(folder)) if is_foreign(folder) else LocalStore(folder)


def spelled_out(place: str) -> list[str]:
    """Expands `{a,b}`, `{000..017}`, `::` and webdataset's `${WDS_…}` in a place to a list of places."""
    if not re.search(r"[{$]|::", place) or _is_there(place):
        return [place]
    from webdataset.shardlists import expand_urls  # brings PyTorch along, which nothing else here needs

    return expand_urls(place)


def _is_there(place: str) -> bool:
    """Whether a folder or file has exactly this name, even if the name reads as a pattern."""
    return not is_remote(place) and Path(place).exists()


def _folders(place: str) -> list[str]:
    """Expands a local glob over folders that hold a manifest, or over shards within such folders."""
    if is_remote(place) or not re.search(r"[*?\[]", place) or _is_there(place):
        return [place]
    folders = sorted(path for path in glob(place) if _holds_shards(path))
    if folders:
        return folders
    folder, name = folder_and_names(place)
    return [f"{path}/{name}" for path in sorted(glob(folder)) if _holds_shards(path)]


def _holds_shards(path: str) -> bool:
    return Path(path, MANIFEST_NAME).is_file() or is_foreign(path)


def folder_and_names(place: str) -> tuple[str, str]:
    """`folder/train-*.tar` → (folder, pattern of shard names); a folder or its manifest stands for all its shards."""
    folder, _, name = place.rpartition("/")
    if name == MANIFEST_NAME:
        return folder or ".", "*"
    return (folder or ".", name) if name.endswith(".tar") else (place.rstrip("/") or "/", "*")


def _matching(table: ShardTable, rows: np.ndarray, names: list[str], folder: str) -> np.ndarray:
    """The `rows` with matching names; every pattern must match a shard of some split."""
    if "*" in names:
        return rows
    known = [table.name(row) for row in range(len(table))]
    every, matches = set(known), set[str]()
    for name in names:
        matching = fnmatch.filter(known, name) if re.search(r"[*?\[]", name) else {name} & every
        if not matching:
            raise UserError(f"data.root: the manifest in {folder} lists no shard {name}; correct the path.")
        matches.update(matching)
    return rows[[known[row] in matches for row in rows.tolist()]]
