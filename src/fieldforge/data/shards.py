"""The shards that a stream reads: from one or several places, each with its manifest."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path

import numpy as np
from webdataset.shardlists import expand_urls

from fieldforge.data.cache import Cache
from fieldforge.data.cloud import ObjectStore, is_remote
from fieldforge.data.manifest import MANIFEST_NAME, Manifest, ShardEntry
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

    @property
    def is_remote(self) -> bool:
        return not all(isinstance(store, LocalStore) for store, _ in self.located)


def open_shards(
    roots: str | Path | Sequence[str | Path], split: str, cache: Cache | None = None, *, store: Store | None = None
) -> ShardSet:
    """Shards of one split in one or several places.

    A place is a folder (local, `s3://`, `gs://`, `https://`), the manifest in it, or a pattern of shards in it with
    `*`, `?`, `{000..017}`, `{a,b}`; folders may be patterns too. Only shards that a manifest lists are read.
    Raises UserError if a manifest is missing, nothing matches, or schemas differ.
    """
    given = [roots] if isinstance(roots, str | Path) else list(roots)
    spelled = [whole for place in given for part in expand_urls(str(place)) for whole in _folders(part)]
    places = [folder_and_names(place) for place in spelled]
    if not places:
        raise UserError(f"data.root={roots}: names no place to read shards from; give it a folder of shards.")
    patterns: dict[str, list[str]] = {}
    for folder, name in places:
        patterns.setdefault(folder, []).append(name)
    located: list[tuple[Store, ShardEntry]] = []
    manifests: list[Manifest] = []
    for folder, names in patterns.items():
        reading: Store = store or (ObjectStore(folder) if is_remote(folder) else LocalStore(folder))
        manifest = load_manifest(reading)
        manifests.append(manifest)
        if manifest.schema != manifests[0].schema:
            raise UserError(
                f"{folder}: holds {manifest.schema.name} shards, but the others hold {manifests[0].schema.name} "
                "shards; read one kind at a time."
            )
        chosen = [entry for entry in _matching(manifest.shards, names, folder) if entry.split == split]
        if chosen and cache and isinstance(reading, ObjectStore):
            reading = cache.wrap(reading, chosen)
        located += [(reading, entry) for entry in chosen]
    if not located:
        known = sorted({entry.split for manifest in manifests for entry in manifest.shards})
        raise UserError(
            f"data.root={roots}: there is no shard of split '{split}', only of {known}; choose one of these."
        )
    return ShardSet(manifests[0].schema, tuple(located), tuple(manifests))


def load_manifest(store: Store) -> Manifest:
    """The manifest in a store's folder. UserError if there is none or it is unsound."""
    where = f"{store.url}/{MANIFEST_NAME}"
    try:
        return Manifest.from_json(store.read(MANIFEST_NAME), where)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{where}: there is no manifest; prepare the data first, point data.root to a folder of shards, or index "
            "shards of other origin with python -m fieldforge.data.index."
        ) from error


def _folders(place: str) -> list[str]:
    """A local glob spelled out: over folders that hold a manifest, or over shards within such folders."""
    if is_remote(place) or not re.search(r"[*?\[]", place):
        return [place]
    folders = sorted(path for path in glob(place) if Path(path, MANIFEST_NAME).is_file())
    if folders:
        return folders
    folder, name = folder_and_names(place)
    return [f"{path}/{name}" for path in sorted(glob(folder)) if Path(path, MANIFEST_NAME).is_file()]


def folder_and_names(place: str) -> tuple[str, str]:
    """`folder/train-*.tar` → (folder, pattern of shard names); a folder or its manifest stands for all its shards."""
    folder, _, name = place.rpartition("/")
    if name == MANIFEST_NAME:
        return folder or ".", "*"
    return (folder or ".", name) if name.endswith(".tar") else (place.rstrip("/") or "/", "*")


def _matching(entries: Sequence[ShardEntry], names: list[str], folder: str) -> list[ShardEntry]:
    for name in names:
        if not any(fnmatch.fnmatchcase(entry.name, name) for entry in entries):
            raise UserError(f"data.root: the manifest in {folder} lists no shard {name}; correct the path.")
    return [entry for entry in entries if any(fnmatch.fnmatchcase(entry.name, name) for name in names)]
