"""The default logger: one CSV file that a resumed run goes on with."""

from __future__ import annotations

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.logger import _add_prefix
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


class MetricsTable(Logger):
    """Writes `metrics.csv`: a column `step`, then one for each metric in alphabetical order.

    Lightning's own CSV logger starts the file over when a run resumes; this one keeps the rows up to the step from
    which it resumes and drops those of steps that are trained again.
    """

    def __init__(self, directory: str | Path):
        super().__init__()
        self.path = Path(directory) / "metrics.csv"
        self._rows: dict[int, dict[str, float]] = {}
        self._read = False

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
            self._rows = {old: row for old, row in read_table(self.path).items() if old <= step}
            self._read = True
        row = self._rows.setdefault(step, {})
        row.update({name: float(value) for name, value in _add_prefix(metrics, "", "").items() if name != "epoch"})

    @rank_zero_only
    def save(self) -> None:
        if not self._rows:
            return
        columns = sorted({name for row in self._rows.values() for name in row})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["step", *columns])
            writer.writeheader()
            writer.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))
        os.replace(temporary, self.path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def read_table(path: str | Path) -> dict[int, dict[str, float]]:
    """Step → metrics, of a table written by `MetricsTable`; empty where there is none."""
    path = Path(path)
    if not path.is_file():
        return {}
    with path.open(newline="") as stream:
        return {
            int(row["step"]): {name: float(value) for name, value in row.items() if name != "step" and value}
            for row in csv.DictReader(stream)
            if row.get("step", "").isdigit()
        }
