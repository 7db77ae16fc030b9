"""The loop of a sweep: propose, launch, record results, write the table, until no trial is left."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fieldforge.errors import UserError
from fieldforge.storage.lock import scope, take
from fieldforge.sweeps.forwarding import forwarding
from fieldforge.sweeps.plot import write_plot
from fieldforge.sweeps.records import FAILED, FINISHED, Record, record_path
from fieldforge.sweeps.space import as_text
from fieldforge.sweeps.study import Trial
from fieldforge.sweeps.trial_table import Row, Table
from fieldforge.training.processes import interruption

log = logging.getLogger(__name__)
ALIKE = 3  # so many failures with one sentence, and none that did not fail, end a sweep

Launch = Callable[
    [Sequence[Sequence[str]], int], object
]  # (overrides of each job, number of the first) → when all ended


class Proposals(Protocol):
    def next(self, most: int) -> list[Trial]: ...

    def tell(self, trial: Trial, record: Record) -> None: ...

    def trials(self) -> list[Trial]: ...


@dataclass(frozen=True)
class Sweep:
    """A sweep that lies in `directory`.

    Args:
        directory: records, table and plot; a search's journal.
        objective, direction: metric and direction of the ranking.
        fixed: overrides that all jobs share.
        parallel: jobs handed to the launcher at once.
        in_process: the launcher trains in this process, and the training handles signals.
        check: composes a job's configuration, so that mistakes appear before any job starts.
        launch: runs jobs and returns when all have ended.
    """

    directory: Path
    objective: str
    direction: str
    fixed: Sequence[str]
    parallel: int
    in_process: bool
    check: Callable[[Sequence[Sequence[str]]], None]
    launch: Launch

    def run(self, propose: Callable[[], Proposals]) -> Table:
        """Run the remaining trials.

        Raises:
            UserError: another process runs the sweep, all trials failed, or the launcher cannot start any.
            Interrupted: a signal stopped it; the same sweep continues from there.
        """
        with scope():
            take(self.directory)
            proposals = propose()
            try:
                while batch := self._next(proposals):
                    self._run_batch(batch, proposals)
                    self._stop_if_hopeless(proposals)
            finally:
                table = self._write(proposals)
                write_plot(table, self.directory / "parallel_coordinates.png")
        failed = [row for row in table.rows if row.state == FAILED]
        if failed and len(failed) == len(table.rows):
            raise UserError(f"all {len(failed)} trials failed, the first one with: {failed[0].note}")
        return table

    def _next(self, proposals: Proposals) -> list[Trial]:
        _stop_on_request()
        return proposals.next(self.parallel)

    def _run_batch(self, batch: Sequence[Trial], proposals: Proposals) -> None:
        self.check([self._overrides(trial) for trial in batch])
        log.info("")
        for trial in batch:
            log.info("trial %d: %s", trial.number, " ".join(trial.overrides))
        self._launch(batch)
        for trial in batch:
            record = Record.read(record_path(self.directory, trial.number))
            if record is not None:
                proposals.tell(trial, record)
                log.info("trial %d: %s%s", trial.number, record.state, _value(self.objective, record))
        _stop_on_request()
        self._write(proposals)

    def _launch(self, batch: Sequence[Trial]) -> None:
        """Afterwards each trial has its record, unless a signal stopped the sweep.

        A launcher raises when a job's process dies, and may lose other jobs. Trials without a record are then launched
        once more, one at a time, so that a dying job affects no other.
        """
        error = self._launched(batch)
        orphans = self._without_record(batch)
        if error is not None and len(orphans) == len(batch) and not any(self._begun(trial) for trial in batch):
            raise _no_start(error) from error
        if orphans and error is None:  # these have ended in order: their processes were asked to stop, one by one
            raise interruption.Interrupted(interruption.noted() or signal.SIGTERM)
        for trial in orphans:
            _stop_on_request()
            log.warning("trial %d: its process ended without a word, once more", trial.number)
            error = self._launched([trial])
            if self._without_record([trial]):
                _stop_on_request()
                if error is None:
                    raise interruption.Interrupted(signal.SIGTERM)
                reason = f"its process died twice ({_first_line(error)})"
                Record(FAILED, note=reason).write(record_path(self.directory, trial.number))

    def _launched(self, batch: Sequence[Trial]) -> Exception | None:
        with forwarding(to_children=not self.in_process):
            try:
                self.launch([self._overrides(trial) for trial in batch], batch[0].number)
            except interruption.Interrupted:
                raise
            except Exception as error:  # whatever a launcher raises for a job that died
                return error
        return None

    def _overrides(self, trial: Trial) -> list[str]:
        record = record_path(self.directory, trial.number)
        return [*self.fixed, *trial.overrides, f"search.trial={as_text(str(record))}"]

    def _without_record(self, batch: Sequence[Trial]) -> list[Trial]:
        return [trial for trial in batch if not record_path(self.directory, trial.number).is_file()]

    def _begun(self, trial: Trial) -> bool:
        return record_path(self.directory, trial.number).with_suffix(".lock").is_file()

    def _stop_if_hopeless(self, proposals: Proposals) -> None:
        records = [Record.read(record_path(self.directory, trial.number)) for trial in proposals.trials()]
        ended = [record for record in records if record is not None]
        notes = {record.note for record in ended}
        if len(ended) >= ALIKE and len(notes) == 1 and all(record.state == FAILED for record in ended):
            raise UserError(f"the first {len(ended)} trials failed alike: {ended[0].note}")

    def _write(self, proposals: Proposals) -> Table:
        rows = []
        for trial in proposals.trials():
            record = Record.read(record_path(self.directory, trial.number))
            if record is not None:
                rows.append(Row(trial.number, dict(trial.values), **vars(record)))
        table = Table(self.objective, self.direction, rows)
        table.write(self.directory)
        return table


def write_settings(directory: Path, settings: dict) -> None:
    """Write the values behind the sweep's name."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sweep.json").write_text(json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False))


def _stop_on_request() -> None:
    stopped_by = interruption.noted()
    if stopped_by is not None:
        raise interruption.Interrupted(stopped_by)


def _value(objective: str, record: Record) -> str:
    if record.state == FINISHED and record.value is not None:
        return f", {objective} {record.value:.5g}"
    if record.state == FAILED:
        return f": {record.note}"
    return f" at step {record.step}" if record.step is not None else ""


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ").rstrip(".")


def _no_start(error: Exception) -> UserError:
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(
            f"the jobs of this sweep cannot use {error.filename} ({error.strerror}): correct the hydra.sweep.* or "
            "hydra.launcher.* that names it"
        )
    return UserError(f"the launcher could not start a job ({_first_line(error)}): correct hydra.launcher.*")
