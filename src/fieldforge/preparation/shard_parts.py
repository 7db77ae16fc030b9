"""The second pass of a preparation: each shard from its staged assets."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fieldforge.data.schema import Schema
from fieldforge.data.table import ShardEntry
from fieldforge.data.writer import finished_shard, remove_others, shard_name, write_shard
from fieldforge.engines.engine import Engine, Lost
from fieldforge.errors import Unfinished
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.events import Written
from fieldforge.preparation.preparation_job import Job
from fieldforge.preparation.staging import members_of_split
from fieldforge.storage.output import Output


@dataclass(frozen=True)
class ShardPart:
    """The samples of one shard."""

    split: str
    number: int
    records: tuple[AssetRecord, ...]

    @property
    def name(self) -> str:
        return shard_name(self.split, self.number)


@dataclass(frozen=True)
class ShardJob:
    """What determines the shards of an output, beside their samples."""

    job: Job
    output: Output
    schema: Schema
    settings: Mapping[str, Any]


def parts_of(usable: list[AssetRecord], splits: Mapping[str, str], samples_per_shard: int) -> list[ShardPart]:
    """The shards of each split, with the records in their order. `splits`: id → split."""
    parts = []
    for split in sorted(set(splits.values())):
        chosen = [record for record in usable if splits[record.id] == split]
        for number, first in enumerate(range(0, len(chosen), samples_per_shard)):
            parts.append(ShardPart(split, number, tuple(chosen[first : first + samples_per_shard])))
    return parts


def write_parts(shards: ShardJob, parts: list[ShardPart]) -> Iterator[Written | None]:
    """Writes shards. Those of an interrupted run are written again: the samples of another run may lie in them."""
    for part in parts:
        if not shards.job.is_current():
            return
        notes: list[tuple[str, str]] = []

        def samples(part: ShardPart = part, notes: list[tuple[str, str]] = notes) -> Iterator[tuple[str, dict]]:
            for record in part.records:
                asset = shards.job.staging.asset(record)
                notes.extend((record.id, text) for text in asset.notes)
                yield record.key, members_of_split(asset.members, part.split)

        try:
            entry = write_shard(shards.output, part.name, shards.schema, shards.settings, part.split, samples())
        except FileNotFoundError as error:
            raise Unfinished(
                f"{error.filename or error}: {socket.gethostname()} does not see it; run the same command again: it "
                "goes on."
            ) from error
        yield Written(entry, tuple(notes))


def write_all(
    parts: list[ShardPart], shards: ShardJob, engine: Engine, look: Callable[[int], None]
) -> tuple[list[ShardEntry], list[tuple[str, str]]]:
    """Writes all shards and removes others of their splits; calls `look(number of finished shards)` meanwhile.

    Returns their entries, and the notes of all samples (id, text), in any order.
    UserError if the output holds shards that were written with other settings.
    """
    for part in parts:
        if part.number == 0:
            finished_shard(shards.output, part.name, shards.schema, shards.settings)  # raises for other settings
    entries: list[ShardEntry] = []
    notes: list[tuple[str, str]] = []
    for event in engine.run(partial(write_parts, shards), engine.batches(parts)):
        match event:
            case Written(entry, own):
                entries.append(entry)
                notes += own
            case Lost(part):
                raise Lost.unfinished(f"write {shards.output.url}/{part.name}")
        look(len(entries))
    shards.job.check_current()
    names = Counter(entry.name for entry in entries)
    assert names == Counter(part.name for part in parts), "a shard is missing, or twice"
    for split in {part.split for part in parts}:
        remove_others(shards.output, split, names.keys())
    return entries, notes
