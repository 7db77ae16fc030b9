"""The manifest's entries in columns: 100 bytes a shard, where objects would take 1,200, for millions of shards.

Axis letter: F shards. An entry becomes an object only at its access.
"""

import re
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

SHA256_BYTES = 32
SPLIT_PATTERN = re.compile(r"[\w-]{1,80}")


class EntryError(ValueError):
    """An invalid entry of a manifest."""


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

    def check(self) -> None:
        """EntryError naming what is wrong: a type, a name or split that leaves its folder, a count, a checksum."""
        for key, kind in ShardEntry.__annotations__.items():
            if type(getattr(self, key)) is not kind:
                raise EntryError(f"shard {self.name!r} has a wrong {key}")
        if "/" in self.name or "\\" in self.name or not self.name.endswith(".tar"):
            raise EntryError(f"the shard name {self.name!r} is not allowed")
        if not SPLIT_PATTERN.fullmatch(self.split):  # names of files begin with it
            raise EntryError(f"the split {self.split!r} of shard {self.name!r} is not allowed")
        if self.samples < 1 or self.members < self.samples or self.bytes < 0:
            raise EntryError(f"shard {self.name!r} has wrong counts")


def index_name(shard_name: str) -> str:
    return shard_name.removesuffix(".tar") + ".index.json"


class ShardTable:
    """Entries in a fixed order; reads like a list of `ShardEntry`.

    `samples (F,)` and `bytes (F,)` are columns; `splits` names the splits that occur.
    Raises EntryError for an entry that is unsound or listed twice.
    """

    def __init__(self, entries: Iterable[ShardEntry]) -> None:
        names, sums = bytearray(), bytearray()
        ends, hashes, splits = array("I"), array("I"), array("H")
        samples, members, sizes = array("i"), array("i"), array("q")
        numbers: dict[str, int] = {}
        for entry in entries:
            entry.check()
            name = entry.name.encode()
            names += name
            ends.append(len(names))
            hashes.append(zlib.crc32(name))
            splits.append(numbers.setdefault(entry.split, len(numbers)))
            samples.append(entry.samples)
            members.append(entry.members)
            sizes.append(entry.bytes)
            sums += _sha256(entry.sha256, entry) + _sha256(entry.index_sha256, entry)
        self.splits = tuple(numbers)
        self.samples, self.members, self.bytes = np.asarray(samples), np.asarray(members), np.asarray(sizes)  # (F,)
        self._names, self._ends, self._sums = names, np.asarray(ends), sums
        self._split_numbers, self._hashes = np.asarray(splits), np.asarray(hashes)  # (F,)
        self._check_names_differ()

    def _check_names_differ(self) -> None:
        order = np.argsort(self._hashes)
        same = np.flatnonzero(np.diff(self._hashes[order]) == 0)
        suspects = np.unique(order[np.concatenate([same, same + 1])])  # names of one hash, few of which are equal
        names: set[str] = set()
        for name in map(self.name, suspects.tolist()):
            if name in names:
                raise EntryError(f"shard {name!r} is listed twice")
            names.add(name)

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, row: int) -> str:
        return self._names[int(self._ends[row - 1]) if row else 0 : int(self._ends[row])].decode()

    def __getitem__(self, row: int) -> ShardEntry:
        if not 0 <= row < len(self):
            raise IndexError(row)
        place = 2 * SHA256_BYTES * row
        return ShardEntry(
            self.name(row),
            self.splits[self._split_numbers[row]],
            int(self.samples[row]),
            int(self.members[row]),
            int(self.bytes[row]),
            self._sums[place : place + SHA256_BYTES].hex(),
            self._sums[place + SHA256_BYTES : place + 2 * SHA256_BYTES].hex(),
        )

    def __iter__(self) -> Iterator[ShardEntry]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShardTable):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def of_split(self, split: str) -> np.ndarray:
        """Rows of a split, rising."""
        number = self.splits.index(split) if split in self.splits else len(self.splits)
        return np.flatnonzero(self._split_numbers == number).astype(np.int32)

    def find(self, name: str) -> ShardEntry | None:
        """The entry of that name, if there is one."""
        rows = np.flatnonzero(self._hashes == zlib.crc32(name.encode())).tolist()
        return next((self[row] for row in rows if self.name(row) == name), None)


def _sha256(text: str, entry: ShardEntry) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != SHA256_BYTES:
        raise EntryError(f"shard {entry.name!r} has a checksum that is no sha256")
    return value
