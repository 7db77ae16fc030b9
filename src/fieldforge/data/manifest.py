"""The manifest: the contents of a folder of shards, by which a reader detects lost, truncated or altered shards.

Each shard `train-000000.tar` has a sidecar `train-000000.index.json` (keys and byte offsets of its samples); the
`manifest.json` beside them is written last and lists every shard with its counts, size and checksums.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fieldforge.data.json_pieces import JsonError, JsonPieces
from fieldforge.data.schema import Schema
from fieldforge.data.schemas import SCHEMAS
from fieldforge.data.table import EntryError, ShardEntry, ShardTable
from fieldforge.errors import UserError
from fieldforge.storage.cloud import ObjectStore, is_remote
from fieldforge.storage.output import Output, open_output
from fieldforge.storage.store import Store

MANIFEST_NAME = "manifest.json"
FORMAT = "fieldforge-shards"
FORMAT_VERSION = 1
PIECE_BYTES = 1 << 20
PREPARED = {
    "shards/furniture": "source=furniture",
    "data/furniture_cc0": "source=furniture_cc0 preparation=embedded",
    "data/emoji_64": "source=emoji output=data/emoji_64",
    **{
        f"data/{name}_cc0": f"source=furniture_cc0 preparation={name} preparation.views.size=64 output=data/{name}_cc0"
        for name in ("orbits", "six_views")
    },
}
"""Folders that configs/data names, and what makes `prepare.py` write them."""


@dataclass(frozen=True)
class ShardIndex:
    """Sidecar of a shard, one entry per sample: key, first byte, and CRC-32 over the bytes of all its members.

    `offsets` has one entry more, the end of the last sample.
    """

    schema: str
    version: int
    settings_sha256: str
    split: str
    samples: int
    members: int
    bytes: int
    sha256: str
    keys: tuple[str, ...]
    offsets: tuple[int, ...]
    crc32: tuple[int, ...]


def settings_sha256(schema: Schema, settings: Mapping[str, Any]) -> str:
    """Fingerprint of a shard's schema and its writer's settings, which determine the shard's bytes."""
    text = json.dumps([schema.name, schema.version, settings], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_index(payload: bytes, where: str) -> ShardIndex:
    """ShardIndex from the bytes of a sidecar; UserError naming `where` if it is not a sound one."""
    try:
        values = json.loads(payload)
        index = ShardIndex(**{**values, **{key: tuple(values[key]) for key in ("keys", "offsets", "crc32")}})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(f"{where}: not a readable shard index ({error}); write the shard again.") from error
    sound = all(isinstance(key, str) for key in index.keys) and all(
        type(number) is int and number >= 0 for number in (*index.offsets, *index.crc32)
    )
    rising = sound and all(low < high for low, high in zip(index.offsets, index.offsets[1:], strict=False))
    if not len(index.keys) == len(index.crc32) == len(index.offsets) - 1 == index.samples or not rising:
        raise UserError(f"{where}: the index contradicts itself; write the shard again.")
    return index


@dataclass(frozen=True)
class Manifest:
    """The manifest of a folder of shards. `extra` holds the additions of a kind of shard (latent statistics)."""

    schema: Schema
    settings: dict[str, Any]
    fingerprint: str
    shards: ShardTable
    extra: dict[str, Any]

    def to_json(self) -> Iterator[bytes]:
        """The text in pieces, one shard a line, so that the file reads and diffs well."""
        head = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "schema": {"name": self.schema.name, "version": self.schema.version},
            "fingerprint": self.fingerprint,
            "settings": self.settings,
            "extra": self.extra,
        }
        yield b"{\n"
        for key, value in head.items():
            yield f"{json.dumps(key)}: {json.dumps(value, sort_keys=True, allow_nan=False)},\n".encode()
        yield b'"shards": ['
        for number, entry in enumerate(self.shards):
            yield f"{',' if number else ''}\n  {json.dumps(asdict(entry))}".encode()
        yield b"\n]}\n"

    @staticmethod
    def from_json(pieces: Iterable[bytes], where: str) -> "Manifest":
        """Parses and checks a manifest from pieces of its bytes; memory never holds the whole text.

        UserError names `where` and the offending key.
        """
        cursor = JsonPieces(pieces)
        values: dict[str, Any] = {}
        try:
            for key in cursor.members():
                if key == "shards" and cursor.peek() == "[":
                    values[key] = ShardTable(ShardEntry(**row) for row in cursor.items())
                else:
                    values[key] = cursor.value()
            cursor.finish()
        except JsonError as error:
            raise UserError(f"{where}: not readable as JSON ({error}); write the shards again.") from error
        except (EntryError, TypeError, OverflowError, RecursionError) as error:
            _check_format(values, where)
            raise UserError(f"{where}: its list of shards is unsound ({error}); write the shards again.") from error
        _check_format(values, where)
        try:
            schema = SCHEMAS.get(values["schema"]["name"])
            if schema is None or schema.version != values["schema"]["version"]:
                raise UserError(
                    f"{where}: schema {values['schema']} is not known to this version; prepare the shards again."
                )
            if not isinstance(values["shards"], ShardTable):
                raise TypeError("shards is no list")
            for key, kind in (("settings", dict), ("fingerprint", str), ("extra", dict)):
                if not isinstance(values[key], kind):
                    raise TypeError(f"{key} is no {kind.__name__}")
            classes = values["extra"].get("classes", {})
            if not isinstance(classes, dict) or not all(type(count) is int for count in classes.values()):
                raise TypeError("extra.classes counts no classes")
            return Manifest(schema, values["settings"], values["fingerprint"], values["shards"], values["extra"])
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{where}: a part of the manifest is missing or wrong ({error}); write the shards again."
            ) from error


def _check_format(values: Mapping[str, Any], where: str) -> None:
    if values.get("format") != FORMAT:
        raise UserError(f"{where}: not a manifest of shards (format is not '{FORMAT}'); point to a prepared folder.")
    if values.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{where}: format_version {values.get('format_version')}, but {FORMAT_VERSION} is read; prepare again."
        )


def build_manifest(
    schema: Schema, settings: Mapping[str, Any], entries: Iterable[ShardEntry], extra: Mapping[str, Any] | None = None
) -> Manifest:
    """Manifest over finished shards. Its fingerprint covers schema, settings and every shard's checksum."""
    table = ShardTable(sorted(entries, key=lambda entry: (entry.split, entry.name)))
    content = hashlib.sha256(settings_sha256(schema, settings).encode())
    for entry in table:
        content.update((entry.name + entry.sha256).encode())
    return Manifest(schema, dict(settings), content.hexdigest()[:16], table, dict(extra or {}))


def write_manifest(
    folder: str | Path | Output,
    schema: Schema,
    settings: Mapping[str, Any],
    entries: Iterable[ShardEntry],
    extra: Mapping[str, Any] | None = None,
) -> Manifest:
    """Writes `manifest.json` atomically; call it last, when every shard is finished.

    `settings` and `extra` hold plain JSON values.
    """
    manifest = build_manifest(schema, settings, entries, extra)
    output = open_output(folder) if isinstance(folder, str | Path) else folder
    with output.file(MANIFEST_NAME) as file:
        file.writelines(manifest.to_json())
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """Manifest of a folder, local or in object storage (or the path of the local file itself).

    UserError if there is none or it is unsound.
    """
    if is_remote(folder):
        return load_manifest(ObjectStore(str(folder)))
    path = Path(folder)
    path = path if path.suffix == ".json" else path / MANIFEST_NAME
    if not path.is_file():
        raise UserError(
            f"{path}: there is no manifest; prepare the data first ({how_to_prepare(path.parent)}), or point data.root "
            f"to a folder of shards."
        )
    with open(path, "rb") as file:
        return Manifest.from_json(iter(lambda: file.read(PIECE_BYTES), b""), str(path))


def load_manifest(store: Store) -> Manifest:
    """The manifest in a store's folder. UserError if there is none or it is unsound."""
    where = f"{store.url}/{MANIFEST_NAME}"
    try:
        return Manifest.from_json(_pieces(store, MANIFEST_NAME), where)
    except (FileNotFoundError, NotADirectoryError) as error:
        looked = where if is_remote(where) else os.path.abspath(where)
        raise UserError(
            f"{looked}: there is no manifest; prepare the data first ({how_to_prepare(store.url)}), point data.root to "
            "a folder of shards, or index shards of other origin with python -m fieldforge.data.index."
        ) from error


def _pieces(store: Store, name: str) -> Iterator[bytes]:
    size = store.size(name)
    for start in range(0, size, PIECE_BYTES):
        stop = min(size, start + PIECE_BYTES)
        if stop < size:
            store.read_ahead(name, stop, min(size, stop + PIECE_BYTES))
        yield store.read(name, start, stop)


def how_to_prepare(folder: str | Path) -> str:
    """The command that makes the shards of a folder, where it is known, or that makes them of files of one's own."""
    place = str(folder).rstrip("/")
    if place in PREPARED:
        return f"python prepare.py {PREPARED[place]}"
    output = "<folder>, which you then copy there" if place.startswith("http") else place
    return f"python prepare.py source=folder source.path=<your meshes>, or source=pictures, with output={output}"
