"""The default logger: one CSV file, which a resumed run continues."""

from __future__ import annotations

import csv
import logging
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.logger import _add_prefix
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from fieldforge.storage.files import temporary_name
from fieldforge.terminal import quantity
from fieldforge.training.callbacks.tolerance import Tolerance

log = logging.getLogger(__name__)
Rows = dict[int, dict[str, float]]  # step → metrics
GARBLED = "\ufffd"


class MetricsTable(Logger):
    """Writes `metrics.csv`: a column `step`, then one for each metric in alphabetical order.

    Lightning's CSV logger starts a new file when a run resumes. This logger keeps the rows up to the step of the
    checkpoint, and drops rows of steps that are trained again. Of a damaged file it keeps the readable rows, and
    renames the original. A file that cannot be written does not stop the training.
    """

    def __init__(self, directory: str | Path):
        super().__init__()
        self.path = Path(directory) / "metrics.csv"
        self._rows: Rows = {}
        self._read = False
        self._tolerance = Tolerance(self.path)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> int:
        return 0

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the resolved configuration lies beside the table."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        step = 0 if step is None else step
        if not self._read:
            self._rows = {old: row for old, row in self._rows_so_far().items() if old <= step}
            self._read = True
        row = self._rows.setdefault(step, {})
        row.update({name: float(value) for name, value in _add_prefix(metrics, "", "").items() if name != "epoch"})

    @rank_zero_only
    def save(self) -> None:
        if not self._rows:
            return
        columns = sorted({name for row in self._rows.values() for name in row})
        temporary = temporary_name(self.path)
        with self._tolerance:  # all rows are written each time: what fails now is there the next time
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with temporary.open("w", newline="") as stream:
                    writer = csv.DictWriter(stream, ["step", *columns])
                    writer.writeheader()
                    writer.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))
                os.replace(temporary, self.path)
            finally:
                temporary.unlink(missing_ok=True)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _rows_so_far(self) -> Rows:
        """Rows of the existing table; unreadable lines are reported, and the damaged file is kept beside it."""
        if not self.path.is_file():
            return {}
        with self._tolerance:
            rows, lost = readable_rows(self.path.read_bytes())
            if lost:
                aside = self.path.with_name("metrics.damaged.csv")
                os.replace(self.path, aside)
                log.warning(
                    "warning: %s was damaged: what can be read is kept (%s), the file as it was is %s",
                    self.path, quantity(len(rows), "row"), aside,
                )  # fmt: skip
            return rows
        return {}


def read_table(path: str | Path) -> Rows:
    """The readable rows of a table written by `MetricsTable`; empty where there is none."""
    path = Path(path)
    return readable_rows(path.read_bytes())[0] if path.is_file() else {}


def readable_rows(content: bytes) -> tuple[Rows, int]:
    """The complete rows of a table, and the number of damaged lines."""
    first, *lines = content.decode(errors="replace").replace("\0", GARBLED).replace("\r", "").split("\n")
    if not first:
        return {}, sum(map(bool, lines))
    [header] = csv.reader([first])
    if "step" not in header or not lines:
        return {}, 1 + sum(map(bool, lines))
    rows: Rows = {}
    lost = 1 if lines.pop() else 0  # a line that was written whole has an end
    for line in filter(None, lines):
        try:
            row = dict(zip(header, *csv.reader([line]), strict=True))
            step = int(row.pop("step"))
            rows[step] = {name: float(value) for name, value in row.items() if value}
        except (ValueError, csv.Error):
            lost += 1
    return rows, lost + (GARBLED in first)
