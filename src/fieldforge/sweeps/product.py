"""Grid sweep of a multirun without a search: every combination of the values on the command line."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from fieldforge.errors import UserError
from fieldforge.sweeps.records import FAILED, Record, record_path
from fieldforge.sweeps.space import Choices, Dimension
from fieldforge.sweeps.study import Trial


class Product:
    """Proposes each combination once; trials that an earlier process has finished are skipped, failed trials run again.

    Args:
        directory: with the records.
        space: choices by key.

    Raises:
        UserError: a key has a range in place of choices.
    """

    def __init__(self, directory: Path, space: Mapping[str, Dimension]):
        ranges = [key for key, dimension in space.items() if not isinstance(dimension, Choices)]
        if ranges:
            raise UserError(f"{ranges[0]} has an interval: list its values, or give a search= that samples")
        combinations = itertools.product(*(dimension.values() or [] for dimension in space.values()))
        self._all = [Trial(number, dict(zip(space, values, strict=True))) for number, values in enumerate(combinations)]
        self._open = []
        for trial in self._all:
            path = record_path(directory, trial.number)
            record = Record.read(path)
            if record is None or record.state == FAILED:
                path.unlink(missing_ok=True)
                self._open.append(trial)

    def next(self, most: int) -> list[Trial]:
        batch, self._open = self._open[:most], self._open[most:]
        return batch

    def tell(self, trial: Trial, record: Record) -> None:
        """Ignored: proposals do not depend on results."""

    def trials(self) -> list[Trial]:
        return self._all
