"""The manifest: what a folder of shards must hold, so that a reader finds whatever is lost, cut or altered.

Each shard `train-000000.tar` has a sidecar `train-000000.index.json` (keys and byte offsets of its samples); the
`manifest.json` beside them is written last and lists every shard with its counts, size and checksums.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fieldforge.data.files import atomic_file
from fieldforge.data.schema import SCHEMAS, Schema
from fieldforge.errors import UserError

MANIFEST_NAME = "manifest.json"
FORMAT = "fieldforge-shards"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard in the manifest: file name, split, counts, size in bytes, sha256 of the tar and of its index."""

    name: str
    split: str
    samples: int
    members: int
    bytes: int
    sha256: str
    index_sha256: str

    @property
    def index_name(self) -> str:
        return index_name(self.name)


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


def index_name(shard_name: str) -> str:
    return shard_name.removesuffix(".tar") + ".index.json"


def settings_sha256(schema: Schema, settings: Mapping[str, Any]) -> str:
    """Fingerprint of what determines a shard's bytes: the schema and the settings of its writer."""
    text = json.dumps([schema.name, schema.version, settings], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_index(payload: bytes, where: str) -> ShardIndex:
    """ShardIndex from the bytes of a sidecar; UserError naming `where` if it is not a sound one."""
    try:
        values = json.loads(payload)
        index = ShardIndex(**{**values, **{key: tuple(values[key]) for key in ("keys", "offsets", "crc32")}})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{where}: not a readable shard index ({error}); write the shard again.") from error
    rising = all(low < high for low, high in zip(index.offsets, index.offsets[1:], strict=False))
    if not len(index.keys) == len(index.crc32) == len(index.offsets) - 1 == index.samples or not rising:
        raise UserError(f"{where}: the index contradicts itself; write the shard again.")
    return index


@dataclass(frozen=True)
class Manifest:
    """Everything known about a folder of shards. `extra` carries what a kind of shard adds (latent statistics)."""

    schema: Schema
    settings: dict[str, Any]
    fingerprint: str
    shards: tuple[ShardEntry, ...]
    extra: dict[str, Any]

    def to_json(self) -> bytes:
        """One shard a line, so that the file reads and diffs well."""
        head = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "schema": {"name": self.schema.name, "version": self.schema.version},
            "fingerprint": self.fingerprint,
            "settings": self.settings,
            "extra": self.extra,
        }
        lines = [
            f"{json.dumps(key)}: {json.dumps(value, sort_keys=True, allow_nan=False)}" for key, value in head.items()
        ]
        rows = ",\n  ".join(json.dumps(asdict(entry)) for entry in self.shards)
        return ("{\n" + ",\n".join(lines) + ',\n"shards": [\n  ' + rows + "\n]}\n").encode()

    @staticmethod
    def from_json(payload: bytes, where: str) -> "Manifest":
        """Parses and checks a manifest; UserError names `where` and the offending key."""
        try:
            values = json.loads(payload)
        except ValueError as error:
            raise UserError(f"{where}: not readable as JSON ({error}); write the shards again.") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise UserError(
                f"{where}: not a manifest of shards (format is not '{FORMAT}'); point to a prepared folder."
            )
        if values.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{where}: format_version {values.get('format_version')}, but {FORMAT_VERSION} is read; prepare again."
            )
        try:
            schema = SCHEMAS.get(values["schema"]["name"])
            if schema is None or schema.version != values["schema"]["version"]:
                raise UserError(
                    f"{where}: schema {values['schema']} is not known to this version; prepare the shards again."
                )
            entries = tuple(ShardEntry(**row) for row in values["shards"])
            manifest = Manifest(schema, values["settings"], values["fingerprint"], entries, values["extra"])
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{where}: a part of the manifest is missing or wrong ({error}); write the shards again."
            ) from error
        for entry in entries:
            _check_entry(entry, where)
        if len({entry.name for entry in entries}) != len(entries):
            raise UserError(f"{where}: a shard is listed twice; write the shards again.")
        return manifest


def _check_entry(entry: ShardEntry, where: str) -> None:
    for spec in fields(entry):
        if not isinstance(getattr(entry, spec.name), spec.type):  # type: ignore[arg-type]
            raise UserError(f"{where}: shard {entry.name!r} has a wrong {spec.name}; write the shards again.")
    if "/" in entry.name or "\\" in entry.name or not entry.name.endswith(".tar") or entry.samples < 1:
        raise UserError(f"{where}: the shard name {entry.name!r} or its count is not allowed; write the shards again.")


def build_manifest(
    schema: Schema, settings: Mapping[str, Any], entries: Iterable[ShardEntry], extra: Mapping[str, Any] | None = None
) -> Manifest:
    """Manifest over finished shards. Its fingerprint covers schema, settings and every shard's checksum."""
    ordered = tuple(sorted(entries, key=lambda entry: (entry.split, entry.name)))
    content = settings_sha256(schema, settings) + "".join(entry.name + entry.sha256 for entry in ordered)
    fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]
    return Manifest(schema, dict(settings), fingerprint, ordered, dict(extra or {}))


def write_manifest(
    folder: str | Path,
    schema: Schema,
    settings: Mapping[str, Any],
    entries: Iterable[ShardEntry],
    extra: Mapping[str, Any] | None = None,
) -> Manifest:
    """Writes `manifest.json` atomically; call it last, when every shard is finished.

    `settings` and `extra` hold plain JSON values.
    """
    manifest = build_manifest(schema, settings, entries, extra)
    with atomic_file(Path(folder) / MANIFEST_NAME) as file:
        file.write(manifest.to_json())
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """Manifest of a local folder (or the path of the file itself). UserError if there is none or it is unsound."""
    path = Path(folder)
    path = path if path.suffix == ".json" else path / MANIFEST_NAME
    if not path.is_file():
        raise UserError(
            f"{path}: there is no manifest; prepare the data first, or point data.root to a folder of shards."
        )
    return Manifest.from_json(path.read_bytes(), str(path))
