"""The first pass of a preparation: every asset is staged or rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from fieldforge.engines.engine import Engine, Lost
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.events import Decided, Failed, OverLimit
from fieldforge.preparation.preparation_job import Job
from fieldforge.preparation.staging import STAGED
from fieldforge.preparation.workers import stage_batch

READERS = 16  # threads that read the reasons of an earlier run
Reasons = dict[str, str | None]
"""Id of an asset → why it is rejected; None: it is staged."""


def earlier_reasons(records: list[AssetRecord], job: Job) -> Reasons:
    """What earlier runs of the same command have decided, without rejections for time and memory, which are lifted."""
    found = job.staging.forget_limits()
    known = {record.id: record for record in records if job.staging.name(record) in found}
    rejected = [record for record in known.values() if found[job.staging.name(record)] != STAGED]
    with ThreadPoolExecutor(READERS) as pool:
        reasons = dict(zip((record.id for record in rejected), pool.map(job.staging.reason, rejected), strict=True))
    return {asset_id: reasons.get(asset_id) for asset_id in known}


def stage_all(
    records: list[AssetRecord],
    job: Job,
    engine: Engine,
    done: Callable[[AssetRecord, float], None],
    look: Callable[[], None] = lambda: None,
) -> Reasons:
    """Stages all records; calls `done(record, CPU-seconds)` for each, as they finish, and `look()` meanwhile.

    An asset beyond the limits of time or memory is rejected. If a process dies (out of memory, a crash inside a
    library) or is refused memory, its asset is tried again alone, where no other asset can be the cause, and rejected
    after a second failure.

    UserError: a machine fails (a full disk, a missing library), or workers die with an asset. Staged assets stay.
    """
    first = _FirstPass(job, engine, done, look)
    open_events = list(first.stage(engine.batches(records), engine.processes))
    failed = {event.item.id if isinstance(event, Lost) else event.record.id for event in open_events}
    for record in [record for record in records if record.id in failed]:
        for event in first.stage([[record]], 1):
            if isinstance(event, Lost):
                raise Lost.unfinished(f"prepare '{record.id}'", ", or take it out of the source")
            first.reject_by_limit(record, event.reason)
    job.check_current()
    assert len(first.reasons) == len(records), "an asset is undecided"
    return first.reasons


@dataclass(frozen=True)
class _FirstPass:
    """What is decided so far."""

    job: Job
    engine: Engine
    done: Callable[[AssetRecord, float], None]
    look: Callable[[], None]
    reasons: Reasons = field(default_factory=dict)

    def stage(self, batches: list[list[AssetRecord]], processes: int) -> Iterator[Failed | Lost]:
        """Stages batches; the events that leave an asset open."""
        for event in self.engine.run(partial(stage_batch, self.job, processes), batches):
            match event:
                case Decided(record, seconds, reason):
                    self.reasons[record.id] = reason
                    self.done(record, seconds)
                case OverLimit(record, reason):
                    self.reject_by_limit(record, reason)
                case Failed() | Lost():
                    yield event
            self.look()

    def reject_by_limit(self, record: AssetRecord, reason: str) -> None:
        self.job.staging.put_rejected(record, reason, by_limit=True)
        self.reasons[record.id] = reason
        self.done(record, 0.0)
