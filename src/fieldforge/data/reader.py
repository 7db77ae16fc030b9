"""Reads single samples out of shards, checked against the manifest before anyone sees them."""

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fieldforge.data.codec import decode_member
from fieldforge.data.manifest import ShardIndex, parse_index
from fieldforge.data.shards import ShardSet
from fieldforge.data.store import BadShardError
from fieldforge.errors import UserError

KEPT_INDEXES = 256
BLOCK = 512
PLAIN_FILE, EXTENDED_HEADER = b"0\0", b"x"  # tar's type flags; webdataset's own writer puts an extended time everywhere


class LazySample(Mapping[str, Any]):
    """Members of one sample, each decoded when it is first asked for. `sample["__key__"]` is its key."""

    def __init__(self, key: str, members: dict[str, memoryview], shard: str) -> None:
        self.key, self.shard = key, shard
        self._members = members
        self._decoded: dict[str, Any] = {"__key__": key}

    def __getitem__(self, suffix: str) -> Any:
        if suffix not in self._decoded:
            try:
                self._decoded[suffix] = decode_member(suffix, self._members[suffix])
            except UserError as error:
                raise BadShardError(f"{self.shard}, sample '{self.key}': {error}") from error
        return self._decoded[suffix]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, suffix: object) -> bool:
        return suffix in self._members


def split_members(block: bytes, key: str) -> dict[str, memoryview]:
    """Bytes of a sample's tar members → {suffix: content}. ValueError if they are not plain members of that key.

    Only the two header fields that matter are parsed: `tarfile` takes longer for the headers than the rest of reading.
    """
    view, members, place = memoryview(block), {}, 0
    while place < len(block):
        name = block[place : block.index(0, place, place + 100)].decode()
        size = int(block[place + 124 : place + 136].rstrip(b" \0"), 8)
        prefix, _, suffix = name.partition(".")
        kind = block[place + 156]
        if kind not in EXTENDED_HEADER:
            if prefix != key or kind not in PLAIN_FILE or place + BLOCK + size > len(block):
                raise ValueError(f"member {name!r} is not a plain one of sample '{key}'")
            members[suffix] = view[place + BLOCK : place + BLOCK + size]
        place += BLOCK + (size + BLOCK - 1) // BLOCK * BLOCK
    return members


class ShardReader:
    """Random access to the samples of a `ShardSet`. One per process; keeps recently used indexes.

    Every read raises BadShardError, naming the shard, for anything that the manifest does not say.
    """

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self._indexes: OrderedDict[int, ShardIndex] = OrderedDict()

    def index(self, shard: int) -> ShardIndex:
        """Index of a shard, checked with the shard's size against the manifest when it is first used."""
        if shard in self._indexes:
            self._indexes.move_to_end(shard)
            return self._indexes[shard]
        store, entry = self.shards[shard]
        where = f"shard {store.url}/{entry.name}"
        advice = "restore or prepare it again, or set data.on_bad_shard=skip"
        try:
            size = store.size(entry.name)
            payload = store.read(entry.index_name)
        except FileNotFoundError as error:
            raise BadShardError(f"{where}: it or its index is missing, but the manifest lists it; {advice}.") from error
        if size != entry.bytes:
            raise BadShardError(f"{where}: has {size} bytes, but the manifest says {entry.bytes}; {advice}.")
        if hashlib.sha256(payload).hexdigest() != entry.index_sha256:
            raise BadShardError(f"{where}: its index was altered or is not of this manifest; {advice}.")
        index = parse_index(payload, where)
        schema = self.shards.schema
        if (index.schema, index.version) != (schema.name, schema.version):
            raise BadShardError(
                f"{where}: is of schema {index.schema} {index.version}, "
                f"but the manifest says {schema.name} {schema.version}; {advice}."
            )
        if index.samples != entry.samples or index.offsets[-1] > entry.bytes:
            raise BadShardError(f"{where}: its index holds {index.samples} samples, not {entry.samples}; {advice}.")
        self._indexes[shard] = index
        if len(self._indexes) > KEPT_INDEXES:
            self._indexes.popitem(last=False)
        return index

    def read(self, shard: int, sample: int) -> LazySample:
        """One sample by the number of its shard and its number therein; its bytes match the index's checksum."""
        index = self.index(shard)
        store, entry = self.shards[shard]
        where, key = f"shard {store.url}/{entry.name}", index.keys[sample]
        start, stop = index.offsets[sample], index.offsets[sample + 1]
        advice = "restore or prepare it again, or set data.on_bad_shard=skip"
        try:
            block = store.read(entry.name, start, stop)
        except FileNotFoundError as error:
            raise BadShardError(f"{where}: is missing, but the manifest lists it; {advice}.") from error
        if len(block) != stop - start or zlib.crc32(block) != index.crc32[sample]:
            raise BadShardError(f"{where}, sample '{key}': is cut or was altered (checksum); {advice}.")
        try:
            members = split_members(block, key)
        except (ValueError, IndexError) as error:
            raise BadShardError(f"{where}, sample '{key}': {error}; {advice}.") from error
        return LazySample(key, members, where)

    def read_ahead(self, shards: np.ndarray, samples: np.ndarray) -> None:
        """Says which samples (P,) are read next."""
        for shard, sample in zip(shards.tolist(), samples.tolist(), strict=True):
            try:
                index = self.index(shard)
                store, entry = self.shards[shard]
                store.read_ahead(entry.name, index.offsets[sample], index.offsets[sample + 1])
            except (BadShardError, FileNotFoundError):
                continue  # `read` reports it when the sample's turn comes
