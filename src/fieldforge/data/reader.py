"""Reads single samples from shards and checks them against the manifest."""

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from fieldforge.data.codec import Payload, decode_member
from fieldforge.data.manifest import ShardIndex, parse_index
from fieldforge.data.schema import Schema
from fieldforge.data.shards import ShardSet
from fieldforge.data.table import ShardEntry
from fieldforge.errors import UserError
from fieldforge.storage.store import BadSampleError, BadShardError, Store

KEPT_INDEXES = 256
Alike = dict[str, tuple[int, str]]
ADVICE = "restore or prepare it again, or set data.on_bad_shard=skip"


class LazySample(Mapping[str, Any]):
    """Members of one sample, each decoded and checked at its first access. `sample["__key__"]` is its key.

    Args:
        key: of the sample.
        members: suffix → bytes.
        shard: the sample's shard, for errors.
        schema: schema of its members; None: no check.
        alike: sizes of the axes that all samples share, with the sample that set them; the first sample fills it.
    """

    def __init__(
        self,
        key: str,
        members: Mapping[str, Payload],
        shard: str,
        schema: Schema | None = None,
        alike: Alike | None = None,
    ) -> None:
        self.key, self.shard = key, shard
        self._members, self._schema = members, schema
        self._axes: dict[str, int] = {}
        self._alike: Alike = {} if alike is None else alike
        self._decoded: dict[str, Any] = {"__key__": key}

    def __getitem__(self, suffix: str) -> Any:
        if suffix not in self._decoded:
            self._decoded[suffix] = self._decode(suffix)
        return self._decoded[suffix]

    def _decode(self, suffix: str) -> Any:
        """Value of a member. BadSampleError, UserError for one that is missing or does not fit the schema."""
        schema = self._schema
        spec = schema.spec(suffix) if schema else None
        if spec and suffix not in self._members:
            raise BadSampleError(f"{self}: the member {suffix} is missing; {ADVICE}.")
        try:
            value = decode_member(suffix, self._members[suffix], spec.decode if spec else None)
        except UserError as error:
            raise BadSampleError(f"{self}: {error}") from error
        if schema:
            try:
                schema.check_member(suffix, value, self._axes, self._members, self)
            except UserError as error:
                raise BadSampleError(str(error)) from error
            if schema.alike:
                self._check_alike(schema.alike)
        return value

    def _check_alike(self, axes: str) -> None:
        """UserError where two samples do not fit one batch. It is never skipped: either sample may be the wrong one."""
        for axis in axes:
            size = self._axes.get(axis)
            if size is None:
                continue
            if axis not in self._alike:
                self._alike[axis] = size, str(self)
            first, whose = self._alike[axis]
            if first != size:
                raise UserError(f"{self}: {axis} = {size}, but {first} in {whose}: they fit no batch; make them alike.")

    def __str__(self) -> str:
        return f"{self.shard}, sample '{self.key}'"

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, suffix: object) -> bool:
        return suffix in self._members


class ShardReader:
    """Random access to the samples of a `ShardSet`. One per process; keeps recently used indexes.

    A read raises BadShardError, which names the shard, for any contradiction of the manifest, and BadSampleError where
    this concerns one sample alone. The verdict on a shard is kept.
    """

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self._indexed: OrderedDict[int, tuple[Store, ShardEntry, ShardIndex]] = OrderedDict()
        self._unusable: dict[int, str] = {}
        self._alike: Alike = {}

    @cached_property
    def _ends(self) -> np.ndarray:  # (F,)
        return np.cumsum(self.shards.samples_per_shard, dtype=np.int64)

    def read_number(self, number: int) -> LazySample:
        """Sample `number` of all shards together, in their order."""
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return self.read(shard, number - (int(self._ends[shard - 1]) if shard else 0))

    def index(self, shard: int) -> ShardIndex:
        """Index of a shard, compared with the manifest when it is first used."""
        return self._open(shard)[2]

    def _open(self, shard: int) -> tuple[Store, ShardEntry, ShardIndex]:
        if shard in self._indexed:
            self._indexed.move_to_end(shard)
            return self._indexed[shard]
        if shard in self._unusable:
            raise BadShardError(self._unusable[shard])
        store, entry = self.shards[shard]
        try:
            self._indexed[shard] = store, entry, self._checked_index(store, entry)
        except BadShardError as error:
            self._unusable[shard] = str(error)
            raise
        if len(self._indexed) > KEPT_INDEXES:
            self._indexed.popitem(last=False)
        return self._indexed[shard]

    def _checked_index(self, store: Store, entry: ShardEntry) -> ShardIndex:
        where = f"shard {store.url}/{entry.name}"
        try:
            size = store.size(entry.name)
            payload = store.read(entry.index_name)
        except FileNotFoundError as error:
            raise BadShardError(f"{where}: it or its index is missing, but the manifest lists it; {ADVICE}.") from error
        if size != entry.bytes:
            raise BadShardError(f"{where}: has {size} bytes, but the manifest says {entry.bytes}; {ADVICE}.")
        if hashlib.sha256(payload).hexdigest() != entry.index_sha256:
            raise BadShardError(f"{where}: its index was altered or is not of this manifest; {ADVICE}.")
        try:
            index = parse_index(payload, where)
        except UserError as error:
            raise BadShardError(f"{error}") from error
        schema = self.shards.schema
        if (index.schema, index.version) != (schema.name, schema.version):
            raise BadShardError(
                f"{where}: is of schema {index.schema} {index.version}, "
                f"but the manifest says {schema.name} {schema.version}; {ADVICE}."
            )
        if index.samples != entry.samples or index.offsets[-1] > entry.bytes:
            raise BadShardError(f"{where}: its index holds {index.samples} samples, not {entry.samples}; {ADVICE}.")
        return index

    def read(self, shard: int, sample: int) -> LazySample:
        """One sample by the number of its shard and its number therein; its bytes match the index's checksum.

        Its members are compared with the schema at their first access.
        """
        store, entry, index = self._open(shard)
        where, key = f"shard {store.url}/{entry.name}", index.keys[sample]
        start, stop = index.offsets[sample], index.offsets[sample + 1]
        try:
            block = store.read(entry.name, start, stop)
        except FileNotFoundError as error:
            raise self._give_up(shard, f"{where}: is missing, but the manifest lists it; {ADVICE}.") from error
        except BadShardError as error:  # of a cache, which compares whole shards
            raise self._give_up(shard, str(error)) from error
        if len(block) != stop - start or zlib.crc32(block) != index.crc32[sample]:
            raise BadSampleError(f"{where}, sample '{key}': is cut or was altered (checksum); {ADVICE}.")
        try:
            members = self.shards.schema.split(block, key)
        except (ValueError, IndexError) as error:
            raise BadSampleError(f"{where}, sample '{key}': {error}; {ADVICE}.") from error
        return LazySample(key, members, where, self.shards.schema, self._alike)

    def _give_up(self, shard: int, reason: str) -> BadShardError:
        self._unusable[shard] = reason
        self._indexed.pop(shard, None)
        return BadShardError(reason)

    def read_ahead(self, shards: np.ndarray, samples: np.ndarray) -> None:
        """Announces the next samples (P,) to the store."""
        for shard, sample in zip(shards.tolist(), samples.tolist(), strict=True):
            try:
                store, entry, index = self._open(shard)
                store.read_ahead(entry.name, index.offsets[sample], index.offsets[sample + 1])
            except (BadShardError, FileNotFoundError):
                continue  # `read` reports it when the sample's turn comes
