"""Body of `python -m fieldforge.fiftyone import`: shards → a dataset, a group for each stored sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from fieldforge.configuration.settings import read_settings
from fieldforge.data.manifest import read_manifest
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.storage.file_names import slug
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import count, quantity, result
from fieldforge.viewing.groups import Slice, add_group, new_dataset
from fieldforge.viewing.media import SCENE, write_scene
from fieldforge.viewing.settings import ImportSettings
from fieldforge.viewing.stored_slices import check_kind, default_slice, stored_files

FIELDS = ("name", "class", "captions", "source", "licence", "creator", "size_cm", "fps")
"""Entries of a sample's metadata that become fields; its id becomes `asset`, its split and tags become tags."""


def run_import(config: DictConfig) -> str:
    """Write the files that the App shows, and the dataset; returns its name.

    Raises:
        UserError: an invalid setting, shards that cannot be read or show nothing, a name that is taken. After a failure
            on the way there is no dataset.
    """
    settings = read_settings(config, ImportSettings)
    kind = check_kind(read_manifest(settings.shards), "shards")
    readers = {split: ShardReader(open_shards(settings.shards, split)) for split in splits_of(settings)}
    dataset = new_dataset(settings.dataset, default_slice(kind))
    try:
        make_folder(settings.folder, "output")
        with writing(settings.folder, MACHINE):
            total = sum(add_split(dataset, split, reader, kind, settings) for split, reader in readers.items())
        dataset.persistent = True
    except BaseException:
        dataset.delete()
        raise
    result(f"{quantity(total, 'sample')} in the dataset {settings.dataset}: fiftyone app launch {settings.dataset}")
    return settings.dataset


def splits_of(settings: ImportSettings) -> list[str]:
    """The splits to show. UserError for one that the shards have not."""
    known = sorted(read_manifest(settings.shards).shards.splits)
    if settings.split is None:
        return known
    if settings.split not in known:
        raise UserError(f"split={settings.split}: these shards have {', '.join(known)}: give one of them")
    return [settings.split]


def add_split(dataset: Any, split: str, reader: ShardReader, kind: str, settings: ImportSettings) -> int:
    """Add the samples of a split, and return their number."""
    total = min(reader.shards.samples, settings.limit or reader.shards.samples)
    for number in range(total):
        sample = reader.read_number(number)
        name = f"{split}_{number:05d}_{slug(sample['meta.json']['name'])}"
        files = stored_files(sample, kind, settings.folder, name, settings.views)
        slices = {title: Slice(path) for title, path in files.slices.items()}
        if files.cloud is not None:
            slices["points"] = Slice(write_scene({"surface": files.cloud}, settings.folder / f"{name}{SCENE}"))
        add_group(dataset, slices, *described(sample["meta.json"], split))
        count(split, number + 1, total)
    return total


def described(meta: Mapping[str, Any], split: str) -> tuple[dict[str, Any], list[str]]:
    """Fields and tags of a stored sample."""
    return {"asset": meta["id"], **{key: meta.get(key) for key in FIELDS}}, [split, *meta["tags"]]
