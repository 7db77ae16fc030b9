"""Writes shards: bytes are deterministic, files appear whole, and any interruption can be resumed.

with ShardWriter(folder, SAMPLE, settings, samples_per_shard=100, split="train") as writer:
    for key, sample in samples:              # in a fixed order
        if key not in writer.finished_keys:  # already in a finished shard of an interrupted run
            writer.write(key, sample)
write_manifest(folder, SAMPLE, settings, [*writer.entries, *other_split.entries])
"""

import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from fieldforge.data.manifest import ShardIndex, parse_index, settings_sha256
from fieldforge.data.schema import Schema
from fieldforge.data.table import ShardEntry, index_name
from fieldforge.errors import UserError
from fieldforge.storage.files import remove_leftovers, writing
from fieldforge.storage.output import LocalOutput, Output

BLOCK = tarfile.BLOCKSIZE
END_OF_ARCHIVE = bytes(2 * BLOCK)


def shard_name(split: str, number: int) -> str:
    """The name of the shard `number` of a split."""
    return f"{split}-{number:06d}.tar"


def tar_member(name: str, payload: bytes) -> bytes:
    """Header, payload and padding of one tar member, independent of time, user and machine."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(payload), 0, 0o644
    return info.tobuf(format=tarfile.USTAR_FORMAT) + payload + bytes(-len(payload) % BLOCK)


def write_shard(
    output: Output,
    name: str,
    schema: Schema,
    settings: Mapping[str, Any],
    split: str,
    samples: Iterable[tuple[str, Mapping[str, bytes]]],
) -> ShardEntry:
    """Writes one shard and its index atomically from encoded samples (key, {suffix: bytes}), in the order given.

    The index gets its name first: a tar under its final name is always whole and indexed.
    """
    keys: list[str] = []
    offsets = [0]
    checksums: list[int] = []
    members = 0
    digest = hashlib.sha256()
    with output.file(name) as file:
        for key, encoded in samples:
            block = b"".join(tar_member(f"{key}.{suffix}", payload) for suffix, payload in encoded.items())
            file.write(block)
            digest.update(block)
            keys.append(key)
            offsets.append(offsets[-1] + len(block))
            checksums.append(zlib.crc32(block))
            members += len(encoded)
        file.write(END_OF_ARCHIVE)
        digest.update(END_OF_ARCHIVE)
        size = offsets[-1] + len(END_OF_ARCHIVE)
        fingerprint = settings_sha256(schema, settings)
        index = ShardIndex(
            schema.name, schema.version, fingerprint, split, len(keys), members, size,
            digest.hexdigest(), tuple(keys), tuple(offsets), tuple(checksums),
        )  # fmt: skip
        payload = json.dumps(asdict(index), sort_keys=True).encode()
        output.remove([name])  # one with other samples must not lie beside the new index
        with output.file(index_name(name)) as index_file:
            index_file.write(payload)
    return shard_entry(name, index, payload)


def shard_entry(name: str, index: ShardIndex, index_payload: bytes) -> ShardEntry:
    """The manifest's line for a shard whose index is known."""
    digest = hashlib.sha256(index_payload).hexdigest()
    return ShardEntry(name, index.split, index.samples, index.members, index.bytes, index.sha256, digest)


def finished_shard(
    output: Output, name: str, schema: Schema, settings: Mapping[str, Any]
) -> tuple[ShardEntry, tuple[str, ...]] | None:
    """Entry and keys of a shard that an earlier run finished; None if it is missing or truncated.

    Raises UserError if it was written with other settings: shards of two settings never mix in one folder.
    """
    size = output.size(name)
    if size is None or output.size(index_name(name)) is None:
        return None
    payload = output.read(index_name(name))
    index = parse_index(payload, f"{output.url}/{index_name(name)}")
    if index.settings_sha256 != settings_sha256(schema, settings):
        raise UserError(
            f"{output.url}/{name}: was written with other settings; remove the folder's shards or choose another one."
        )
    if size != index.bytes:
        return None
    return shard_entry(name, index, payload), index.keys


def remove_others(output: Output, split: str, names: Set[str]) -> None:
    """Remove the shards of a split that have none of these names, such as those of a longer run before."""
    shard = re.compile(re.escape(split) + r"-[0-9]+\.tar")
    stale = [name for name in output.names() if shard.fullmatch(name) and name not in names]
    output.remove(part for name in stale for part in (name, index_name(name)))


class ShardWriter:
    """Packs samples into `<split>-000000.tar`, … of `samples_per_shard` each; the last may hold fewer.

    Shards that an earlier, interrupted run finished with the same settings are kept: their keys stand in
    `finished_keys`, and `write` of such a key does nothing. Given the same samples in the same order, the shards are
    equal byte for byte, however often the run was interrupted.
    """

    def __init__(
        self, folder: str | Path, schema: Schema, settings: Mapping[str, Any], samples_per_shard: int, split: str
    ) -> None:
        if samples_per_shard < 1:
            raise UserError(f"samples_per_shard={samples_per_shard}: a shard holds at least one sample; raise it.")
        self.folder = Path(folder)
        self.schema = schema
        self.settings = {**settings, "samples_per_shard": samples_per_shard}
        self.samples_per_shard = samples_per_shard
        self.split = split
        self.entries: list[ShardEntry] = []
        self.finished_keys: set[str] = set()
        self._written_keys: set[str] = set()
        self._pending: list[tuple[str, dict[str, bytes]]] = []
        self._output = LocalOutput(self.folder)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)
        self._keep_finished_shards()

    def _keep_finished_shards(self) -> None:
        while (shard := finished_shard(self._output, self._name(), self.schema, self.settings)) is not None:
            entry, keys = shard
            # A last, partly filled shard is only right if nothing more comes; it is cheap to write again.
            if entry.samples < self.samples_per_shard:
                break
            self.entries.append(entry)
            self.finished_keys.update(keys)

    def _name(self) -> str:
        return shard_name(self.split, len(self.entries))

    def write(self, key: str, sample: Mapping[str, Any]) -> None:
        """Checks and encodes one sample; a full shard goes to disk. UserError for a sample outside the schema."""
        self.write_encoded(key, {} if key in self.finished_keys else self.schema.encode(key, sample))

    def write_encoded(self, key: str, encoded: dict[str, bytes]) -> None:
        """Like `write`, for members already encoded by `schema.encode` (in a worker process, say)."""
        if key in self._written_keys:
            raise UserError(f"sample '{key}' was written twice to split '{self.split}'; give every asset its own id.")
        self._written_keys.add(key)
        if key in self.finished_keys:
            return
        self._pending.append((key, encoded))
        if len(self._pending) == self.samples_per_shard:
            self._flush()

    def _flush(self) -> None:
        entry = write_shard(self._output, self._name(), self.schema, self.settings, self.split, self._pending)
        self.entries.append(entry)
        self._pending = []

    def close(self) -> None:
        """Writes the last, partly filled shard and removes shards of this split beyond it."""
        if self._pending:
            self._flush()
        remove_others(self._output, self.split, {entry.name for entry in self.entries})

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
