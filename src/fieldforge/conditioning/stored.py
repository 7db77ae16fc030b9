"""Stored features of frozen encoders: shards beside the data, read by the sample's key.

They lie in separate folders, `<data>/embeddings/<source>`: the data's shards and checksums do not change, and models
trained on them stay valid. A sample has one row for each caption, or for each view.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
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
from fieldforge.data.dealt_shards import DealtShards, Part
from fieldforge.data.latent_schema import EMBEDDING
from fieldforge.data.manifest import MANIFEST_NAME, Manifest, read_manifest
from fieldforge.data.reader import LazySample, ShardReader
from fieldforge.data.shards import open_shards
from fieldforge.errors import UserError
from fieldforge.storage import lock
from fieldforge.storage.output import open_output

FOLDER = "embeddings"
FIELDS = ("vector", "tokens", "mask")
Report = Callable[[str, int, int], None]


class EmbeddedShards:
    """Shards with the features of every caption (all languages), or view, of every sample of other shards.

    Several processes write them as `DealtShards`: `begin` in one, `write` in each, `finish` in one. Encoders run on the
    conditioner's device.

    Args:
        root: folder of sample shards (latent shards will do for text).
        conditioner: holds the source.
        name: of the source.
        batch_size: pictures or captions of a call of the encoder.
        samples_per_shard: of the written shards.

    Raises:
        UserError: no such source, or data without what it reads.
    """

    def __init__(
        self, root: str | Path, conditioner: Conditioner, name: str, batch_size: int = 32, samples_per_shard: int = 1000
    ) -> None:
        self.root, self.conditioner, self.name, self.batch_size = root, conditioner, name, batch_size
        data, self.source = read_manifest(root), conditioner.source(name)
        if isinstance(self.source, ImageSource) and not has_views(data.schema):
            kind = data.schema.name
            raise UserError(f"{root}: holds {kind} shards without views: embed {name} of the sample shards.")
        self.about = {"source": name, "fingerprint": dict(self.source.fingerprint()), "data": data.fingerprint}
        counts = Counter[str]()
        for entry in data.shards:
            counts[entry.split] += entry.samples
        self.output = open_output(embedding_folder(root, name))
        self.shards = DealtShards(self.output, EMBEDDING, self.about, counts, samples_per_shard)

    def begin(self) -> None:
        """UserError for features that were written with other settings, or another command that writes them."""
        self.shards.begin("shards")
        if self.output.size(MANIFEST_NAME) is not None:
            self.conditioner.check_encoder(self.name, read_embeddings(self.output.url).extra["fingerprint"])

    @property
    def missing(self) -> list[int]:
        """Numbers of the parts that are not finished: `write(number, parts)` writes one of them."""
        unwritten = {part.name for part in self.shards.missing()}
        return [number for number, part in enumerate(self.shards.parts) if part.name in unwritten]

    def write(self, rank: int = 0, world: int = 1, report: Report | None = None) -> None:
        """`report`: called after each sample with the source's name, the number of own samples so far, and of all."""
        self.shards.write(rank, world, lambda parts: self._embedded(parts, report))

    def finish(self) -> Manifest:
        """The manifest; its `extra` holds `source`, `fingerprint` and `data`."""
        return self.shards.finish(self.about)

    def _embedded(self, parts: Sequence[Part], report: Report | None) -> Iterator[tuple[str, dict[str, Any]]]:
        done, total = 0, sum(map(len, parts))
        for split, own in groupby(parts, lambda part: part.split):
            for sample in samples_of(self.root, split, [(part.first, part.last) for part in own]):
                yield sample.key, _features(self.source, sample, self.conditioner.device, self.batch_size)
                done += 1
                if report is not None:
                    report(self.name, done, total)


@lock.scope()
def embed_shards(
    root: str | Path,
    conditioner: Conditioner,
    sources: Iterable[str] | None = None,
    report: Report | None = None,
    **options: int,
) -> dict[str, Manifest]:
    """`EmbeddedShards` of several sources (None: all) by this process: each one's manifest.

    After an interruption the same call continues at the last finished shard.
    """
    manifests = {}
    for name in conditioner.names if sources is None else sources:
        shards = EmbeddedShards(root, conditioner, name, **options)
        shards.begin()
        shards.write(report=report)
        manifests[name] = shards.finish()
    return manifests


def embedding_folder(root: str | Path, source: str) -> str:
    """Folder of a source's features beside the data, local or in object storage."""
    return f"{str(root).rstrip('/')}/{FOLDER}/{source}"


def has_embeddings(root: str | Path, source: str) -> bool:
    """Whether a source's features lie beside the data, complete."""
    return open_output(embedding_folder(root, source)).size(MANIFEST_NAME) is not None


def read_embeddings(folder: str | Path) -> Manifest:
    """Manifest of a source's folder, whose `extra` names the encoder. UserError for none, or where it does not."""
    if open_output(folder).size(MANIFEST_NAME) is None:
        data, _, source = str(folder).rstrip("/").rsplit("/", 2)
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


def samples_of(root: str | Path, split: str, spans: Sequence[tuple[int, int]] | None = None) -> Iterator[LazySample]:
    """Samples first … last - 1 of a split for each span (None: all of them), in their written order."""
    shards = open_shards(root, split)
    reader = ShardReader(shards)
    for first, last in [(0, shards.samples)] if spans is None else spans:
        for number in range(first, last):
            yield reader.read_number(number)


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


def _features(source: Source, sample: LazySample, device: torch.device, batch_size: int) -> dict[str, Any]:
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
