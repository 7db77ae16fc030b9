"""What the processes of a preparation report."""

from dataclasses import dataclass

from fieldforge.data.table import ShardEntry
from fieldforge.preparation.asset_records import AssetRecord


@dataclass(frozen=True)
class Decided:
    """An asset is staged, or rejected for a `reason` of its own."""

    record: AssetRecord
    cpu_seconds: float
    reason: str | None


@dataclass(frozen=True)
class OverLimit:
    """An asset took more time or memory than it may."""

    record: AssetRecord
    reason: str


@dataclass(frozen=True)
class Failed:
    """The process of an asset died, or was refused memory: other assets may be the cause."""

    record: AssetRecord
    reason: str


@dataclass(frozen=True)
class Written:
    """A shard is written. `notes`: id of the asset and text, in the order of its samples."""

    entry: ShardEntry
    notes: tuple[tuple[str, str], ...]
