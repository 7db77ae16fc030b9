"""Shards of samples whose number and order are known before: several processes write them, each its own.

shards = DealtShards(output, LATENT, settings, {"train": 733, "heldout": 77}, samples_per_shard=256)
shards.begin("output")                    # in one process, before all
shards.write(rank, world, samples)        # in each
shards.finish(extra)                      # in one process, after all
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fieldforge.data.manifest import Manifest, write_manifest
from fieldforge.data.schema import Schema
from fieldforge.data.table import ShardEntry
from fieldforge.data.writer import finished_shard, remove_others, shard_name, write_shard
from fieldforge.errors import UserError
from fieldforge.storage.output import Output


@dataclass(frozen=True)
class Part:
    """Shard `number` of a split: samples first … last - 1 of it."""

    split: str
    number: int
    first: int
    last: int

    @property
    def name(self) -> str:
        return shard_name(self.split, self.number)

    def __len__(self) -> int:
        return self.last - self.first


Samples = Callable[[Sequence[Part]], Iterator[tuple[str, Mapping[str, Any]]]]
"""Key and sample of all samples of the parts, in their order."""


class DealtShards:
    """The shards of all splits, and a manifest. They are the same bytes for any number of processes.

    Shards that an interrupted run finished with the same settings are kept.

    Args:
        output: that all processes see.
        schema: of a sample.
        settings: what determines the samples.
        samples: split → number of its samples.
        samples_per_shard: the last shard of a split may hold fewer.
    """

    def __init__(
        self,
        output: Output,
        schema: Schema,
        settings: Mapping[str, Any],
        samples: Mapping[str, int],
        samples_per_shard: int,
    ):
        self.output, self.schema = output, schema
        self.settings = {**settings, "samples_per_shard": samples_per_shard}
        self.parts = [
            Part(split, number, first, min(first + samples_per_shard, count))
            for split, count in samples.items()
            for number, first in enumerate(range(0, count, samples_per_shard))
        ]

    def begin(self, key: str) -> None:
        """Prepare the output, which the config `key` names, for writing: UserError as of `Output.begin`."""
        self.output.begin(key)

    def missing(self, rank: int = 0, world: int = 1) -> list[Part]:
        """The parts of one of several processes that no finished shard holds."""
        return [part for part in self.parts[rank::world] if self._finished(part) is None]

    def write(self, rank: int, world: int, samples: Samples) -> None:
        """Write the missing parts of one of several processes. UserError for a sample outside of the schema."""
        missing = self.missing(rank, world)
        each = samples(missing)
        for part in missing:
            block = ((key, self.schema.encode(key, sample)) for key, sample in islice(each, len(part)))
            entry = write_shard(self.output, part.name, self.schema, self.settings, part.split, block)
            assert entry.samples == len(part), f"{part.name}: {entry.samples} samples for {len(part)}"
        for key, _ in each:
            raise AssertionError(f"{key} belongs to no part")

    def finish(self, extra: Mapping[str, Any]) -> Manifest:
        """Write the manifest, and remove shards of these splits beyond it. UserError for a key twice in a split."""
        entries, keys = [], set[tuple[str, str]]()
        for part in self.parts:
            finished = self._finished(part)
            assert finished is not None, f"{self.output.url}/{part.name} is not written yet"
            entry, own = finished
            for key in own:
                if (part.split, key) in keys:
                    raise UserError(
                        f"{self.output.url}: sample '{key}' is twice in split '{part.split}' of the data: give every "
                        f"asset its own id."
                    )
                keys.add((part.split, key))
            entries.append(entry)
        names = {entry.name for entry in entries}
        for split in {part.split for part in self.parts}:
            remove_others(self.output, split, names)
        return write_manifest(self.output, self.schema, self.settings, entries, extra)

    def _finished(self, part: Part) -> tuple[ShardEntry, tuple[str, ...]] | None:
        """Entry and keys of a part's shard. One with another number of samples was the last before data came to it."""
        finished = finished_shard(self.output, part.name, self.schema, self.settings)
        return finished if finished is not None and finished[0].samples == len(part) else None
