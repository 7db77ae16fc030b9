"""The job of one trial, in any launcher's process: it trains and always writes a record."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from fieldforge.errors import UserError
from fieldforge.sweeps.forwarding import user_signals
from fieldforge.sweeps.records import FAILED, FINISHED, PRUNED, Record, held
from fieldforge.training.processes import interruption
from fieldforge.training.processes.requeue import requeue

log = logging.getLogger(__name__)
Body = Callable[[DictConfig], Any]


def is_trial(config: DictConfig) -> bool:
    """Whether a sweep composed this configuration."""
    search = config.get("search")
    return isinstance(search, DictConfig) and search.get("trial") is not None


def run_trial(body: Body, config: DictConfig, explain: Callable[[BaseException], str | None]) -> float | None:
    """Train with `config`, write the record at `config.search.trial`, return the objective.

    A run stopped by a signal writes no record: it is continued later. Under submitit its job is requeued.

    Args:
        body: the training; returns the directories of its stages by name, that of the last one last.
        config: of this trial.
        explain: one sentence for a user's mistake, None for a bug.
    """
    _spread_over_gpus(config)
    earlier: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, *user_signals())}
    interruption.install()
    if not interruption.speaks():  # of a trial with several processes: the first one keeps the record
        from fieldforge.training.callbacks.pruning import Pruned

        with contextlib.suppress(Pruned):
            body(config)
        return None
    path = Path(config.search.trial)
    with held(path.with_suffix(".lock")) as lock:
        record = Record.read(path)
        if record is None:  # (else a process that the sweep believed lost has finished it meanwhile)
            stopped_by = interruption.noted()
            if stopped_by is None:
                record, stopped_by = _train(body, config, explain, path)
            if record is not None:
                record = Record(**{**vars(record), "seconds": round(lock.seconds, 1)})
                record.write(path)
    if record is None:
        assert stopped_by is not None
        _hand_over(stopped_by, earlier)
        return None
    if record.note:
        log.error("error: %s", record.note)
    return record.value


def _spread_over_gpus(config: DictConfig) -> None:
    """Spreads trials that a launcher runs in parallel on this machine over its GPUs."""
    if not HydraConfig.initialized() or config.trainer.get("accelerator") == "cpu":
        return
    job = HydraConfig.get()
    devices = config.trainer.get("devices")
    if job.runtime.choices.get("hydra/launcher") in ("joblib", "submitit_local") and isinstance(devices, int):
        from fieldforge.training.processes import gpus

        gpus.spread(int(job.job.num), devices)


def _train(
    body: Body, config: DictConfig, explain: Callable[[BaseException], str | None], path: Path
) -> tuple[Record | None, interruption.Reason | None]:
    """The record of the training, or the signal that stopped it."""
    from fieldforge.training.callbacks.pruning import Pruned

    try:
        directories = body(config)
        return _finished(config, Path(list(directories.values())[-1].path)) if directories else Record(FINISHED), None
    except Pruned as end:
        return Record(PRUNED, end.value, end.step, run=str(end.run)), None
    except interruption.Interrupted as stop:
        return None, stop.by
    except Exception as error:
        sentence = explain(error)
        if sentence is None:
            path.with_suffix(".txt").write_text(traceback.format_exc())
            sentence = (
                f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]} (see {path.with_suffix('.txt')})"
            )
        return Record(FAILED, note=sentence), None


def _finished(config: DictConfig, run: Path) -> Record:
    """The record of a finished training, with the objective's last logged value."""
    from fieldforge.training.callbacks.metrics_table import read_table

    rows = read_table(run / "metrics.csv")
    metric, step = config.search.objective, max(rows) + 1 if rows else None  # rows count steps from 0
    values = [row[metric] for _, row in sorted(rows.items()) if metric in row]
    if values and math.isfinite(values[-1]):
        return Record(FINISHED, values[-1], step, run=str(run))
    if values:
        return Record(FAILED, step=step, run=str(run), note=f"{metric} is {values[-1]} at the end: narrow the space")
    if config.search.get("space"):
        logged = ", ".join(sorted({name for row in rows.values() for name in row})) or "nothing"
        raise UserError(f"search.objective = {metric} is not logged: choose one of {logged}")
    return Record(FINISHED, None, step, run=str(run))


def _hand_over(stopped_by: interruption.Reason, earlier: Mapping[int, Any]) -> None:
    """Let submitit put its job back into the queue, now that the state is saved.

    Its own handler does that and leaves the process. It listens to USR2 (or what SUBMITIT_PREEMPT_SIGNAL names) and
    ignores TERM, which under Slurm means that the job is preempted, or cancelled.
    """
    executor = os.environ.get("SUBMITIT_EXECUTOR")
    if executor is None or stopped_by is signal.SIGINT:
        return
    if stopped_by is signal.SIGTERM:
        if executor == "slurm":
            requeue()
            sys.exit(interruption.EXIT_UNFINISHED)
        return
    asks = getattr(signal, f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}")
    handler = earlier.get(asks)
    if callable(handler):
        handler(asks, None)
