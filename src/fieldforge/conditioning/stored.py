"""Stored features of frozen encoders: shards beside the data, read by the sample's key.

They lie in separate folders, `<data>/embeddings/<source>`: the data's shards and checksums do not change, and models
trained on them stay valid. A sample has one row for each caption, or for each view.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.image_source import ImageSource
from fieldforge.conditioning.sample_pictures import can_be_lit, has_views, view_numbers, view_of
from fieldforge.conditioning.source import Source
from fieldforge.data.latent_schema import EMBEDDING
from fieldforge.data.manifest import MANIFEST_NAME, Manifest, ShardEntry, read_manifest, write_manifest
from fieldforge.data.reader import LazySample, ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.data.writer import ShardWriter
from fieldforge.errors import UserError
from fieldforge.storage import lock

FOLDER = "embeddings"
FIELDS = ("vector", "tokens", "mask")
Report = Callable[[str, int, int], None]


@lock.scope()
def embed_shards(
    root: str | Path,
    conditioner: Conditioner,
    sources: Iterable[str] | None = None,
    batch_size: int = 32,
    samples_per_shard: int = 1000,
    report: Report | None = None,
) -> dict[str, Manifest]:
    """Encodes every caption (all languages) or view of every sample in the shards of `root`, source by source.

    After an interruption the same call continues at the last finished shard. Encoders run on the conditioner's device.

    Args:
        root: folder of sample shards (latent shards will do for text).
        conditioner: holds the sources.
        sources: which of them; None = all.
        batch_size: pictures a call of an encoder.
        samples_per_shard: of the written shards.
        report: called after each sample with the source's name, the number of finished samples, and their total.

    Returns:
        Manifest of each source's folder; its `extra` holds `source`, `fingerprint` and `data`.

    Raises:
        UserError: no such source, data without what it reads, features that were written with other settings, another
            command that writes them.
    """
    names = conditioner.names if sources is None else sources
    return {name: _embed_source(root, conditioner, name, batch_size, samples_per_shard, report) for name in names}


def _embed_source(
    root: str | Path,
    conditioner: Conditioner,
    name: str,
    batch_size: int,
    samples_per_shard: int,
    report: Report | None,
) -> Manifest:
    """`embed_shards` of one source."""
    data, source, folder = read_manifest(root), conditioner.source(name), embedding_folder(root, name)
    if isinstance(source, ImageSource) and not has_views(data.schema):
        raise UserError(f"{root}: holds {data.schema.name} shards without views: embed {name} of the sample shards.")
    lock.take(folder)
    if (folder / MANIFEST_NAME).is_file():
        conditioner.check_encoder(name, read_embeddings(folder).extra["fingerprint"])
    about = {"source": name, "fingerprint": dict(source.fingerprint()), "data": data.fingerprint}
    entries: list[ShardEntry] = []
    count, total = 0, sum(entry.samples for entry in data.shards)
    for split in dict.fromkeys(entry.split for entry in data.shards):
        with ShardWriter(folder, EMBEDDING, about, samples_per_shard, split) as writer:
            for sample in samples_of(root, split):
                if sample.key not in writer.finished_keys:
                    writer.write(sample.key, _embedded(source, sample, conditioner.device, batch_size))
                count += 1
                if report is not None:
                    report(name, count, total)
        entries += writer.entries
    return write_manifest(folder, EMBEDDING, {**about, "samples_per_shard": samples_per_shard}, entries, about)


def embedding_folder(root: str | Path, source: str) -> Path:
    """Folder of a source's features beside the data."""
    return Path(root) / FOLDER / source


def read_embeddings(folder: str | Path) -> Manifest:
    """Manifest of a source's folder, whose `extra` names the encoder. UserError for none, or where it does not."""
    if not (Path(folder) / MANIFEST_NAME).is_file():
        source, data = Path(folder).name, Path(folder).parent.parent
        raise UserError(f"{folder}: there is no manifest; run `python prepare.py embed={source} shards={data}`.")
    manifest = read_manifest(folder)
    if manifest.schema != EMBEDDING or not isinstance(manifest.extra.get("fingerprint"), dict):
        raise UserError(f"{folder}: its manifest names no encoder that made it: remove the folder and embed again.")
    return manifest


def captions_of(meta: Mapping[str, Any]) -> list[str]:
    """Every caption of a sample, in whatever language, each once."""
    translated = meta["captions_by_language"].values()
    flat = [text for texts in translated for text in ([texts] if isinstance(texts, str) else texts)]
    return list(dict.fromkeys([*meta["captions"], *flat]))


def samples_of(root: str | Path, split: str) -> Iterator[LazySample]:
    """All samples of a split, in their written order."""
    shards = open_shards(root, split)
    reader = ShardReader(shards)
    for shard, count in enumerate(shards.samples_per_shard.tolist()):
        for number in range(count):
            yield reader.read(shard, number)


class KeyedShards:
    """Samples of all splits in a folder of shards, found by their key."""

    def __init__(self, root: str | Path) -> None:
        self.root = root
        self._places: dict[str, tuple[ShardReader, int, int]] | None = None

    @cached_property
    def manifest(self) -> Manifest:
        return read_manifest(self.root)

    def read(self, key: str) -> LazySample:
        """The sample of that key. UserError if there is none."""
        if self._places is None:
            self._places = self._find()
        if key not in self._places:
            raise UserError(
                f"{self.root}: has no sample {key!r}, which the data have: prepare it again from these data."
            )
        reader, shard, number = self._places[key]
        return reader.read(shard, number)

    def _find(self) -> dict[str, tuple[ShardReader, int, int]]:
        places = {}
        for split in dict.fromkeys(entry.split for entry in self.manifest.shards):
            shards = open_shards(self.root, split)
            reader = ShardReader(shards)
            for shard in range(len(shards)):
                for number, key in enumerate(reader.index(shard).keys):
                    places[key] = (reader, shard, number)
        return places

    def __getstate__(self) -> dict[str, Any]:
        # A worker process opens the files for itself.
        return {"root": self.root, "_places": None}


class KeyedEmbeddings(KeyedShards):
    """Stored features of one source by the sample's key; the manifest names the encoder."""

    @cached_property
    def manifest(self) -> Manifest:
        return read_embeddings(self.root)


def _embedded(source: Source, sample: LazySample, device: torch.device, batch_size: int) -> dict[str, Any]:
    meta = sample["meta.json"]
    rows: list[Any] = captions_of(meta)
    values: Sequence[Any] = rows
    if isinstance(source, ImageSource):
        rows, values = _views(sample, source.lights)
    parts = [source.embed(values[start : start + batch_size], device) for start in range(0, len(rows), batch_size)]
    features = Features.cat(parts).to("cpu")
    arrays = {name: getattr(features, name) for name in FIELDS}
    return {"meta.json": {**meta, "rows": rows}} | {
        f"{name}.npy": _array(value) for name, value in arrays.items() if value is not None
    }


def _views(sample: LazySample, lights: int) -> tuple[list[int], list[np.ndarray]]:
    """Numbers of the embedded views, and their pictures; a sample's lights are always the same."""
    views = view_numbers(sample)
    if not lights or not can_be_lit(sample):
        return list(views), [view_of(sample, view) for view in views]
    generator = np.random.default_rng(zlib.crc32(sample.key.encode()))
    rows = [view for view in views for _ in range(lights)]
    return rows, [view_of(sample, view, generator) for view in rows]


def _array(value: Tensor) -> np.ndarray:
    return value.numpy().astype(np.uint8 if value.dtype == torch.bool else np.float16)
