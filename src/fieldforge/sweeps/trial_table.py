"""The ranked table of a sweep, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldforge.sweeps.records import FAILED, FINISHED, PRUNED


@dataclass(frozen=True)
class Row:
    """One trial: its values and its record."""

    number: int
    values: Mapping[str, Any]
    state: str
    value: float | None
    step: int | None
    seconds: float
    run: str | None
    note: str


@dataclass(frozen=True)
class Table:
    """Trials from the best to the worst, then those without a value, those pruned, those that failed."""

    objective: str
    direction: str
    rows: list[Row]

    @property
    def ranked(self) -> list[Row]:
        sign = -1 if self.direction == "maximize" else 1
        order = [FINISHED, PRUNED, FAILED]

        def key(row: Row) -> tuple:
            # A pruned run's last value is that of another step: the longer it went, the better it was.
            length = -(row.step or 0) if row.state == PRUNED else 0
            missing = row.value is None
            return (order.index(row.state), missing, length, 0 if missing else sign * row.value, row.number)  # type: ignore[operator]

        return sorted(self.rows, key=key)

    @property
    def keys(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows for key in row.values))

    def markdown(self) -> str:
        """With short names of the keys, as far as these are told apart."""
        names = short_names(self.keys)
        failed = any(row.note for row in self.rows)
        header = ["rank", "trial", self.objective, *names, "state", "steps", "minutes", *(["note"] if failed else [])]
        lines = [
            [
                str(place) if row.state == FINISHED and row.value is not None else "",
                str(row.number),
                "" if row.value is None else f"{row.value:.5g}",
                *(shown(row.values.get(key, "")) for key in self.keys),
                row.state,
                "" if row.step is None else str(row.step),
                f"{row.seconds / 60:.1f}",
                *([row.note.replace("|", "/")] if failed else []),
            ]
            for place, row in enumerate(self.ranked, start=1)
        ]
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        rows = [header, ["-" * width for width in widths], *lines]
        return "\n".join(
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
        )

    def summary(self) -> str:
        """One sentence: number of trials by state, and the time saved by pruning."""
        counts = {state: sum(row.state == state for row in self.rows) for state in (FINISHED, PRUNED, FAILED)}
        text = f"{len(self.rows)} trial{'s' * (len(self.rows) != 1)}: " + ", ".join(
            f"{count} {state}" for state, count in counts.items() if count
        )
        whole = max((row.step or 0 for row in self.rows if row.state == FINISHED), default=0)
        pruned = [row.step or 0 for row in self.rows if row.state == PRUNED]
        if pruned and whole:
            saved, total = sum(max(0, whole - step) for step in pruned), whole * (counts[FINISHED] + len(pruned))
            text += f"; pruning saved {saved} of {total} steps ({saved / total:.0%})"
        return text

    def write(self, directory: Path) -> None:
        """`table.md` and `table.csv`."""
        _replace(directory / "table.md", f"{self.summary()}\n\n{self.markdown()}\n")
        path = directory / ".table.csv.tmp"
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            columns = ["trial", "state", self.objective, *self.keys, "steps", "seconds", "run", "note"]
            writer.writerow(columns)
            for row in self.ranked:
                values = [row.values.get(key, "") for key in self.keys]
                writer.writerow([row.number, row.state, row.value, *values, row.step, row.seconds, row.run, row.note])
        os.replace(path, directory / "table.csv")


def short_names(keys: list[str]) -> list[str]:
    """The shortest distinct endings of the keys."""
    names = []
    for key in keys:
        parts = key.lstrip("+").split(".")
        others = [other.lstrip("+").split(".") for other in keys if other != key]
        length = next(
            n for n in range(1, len(parts) + 1) if all(o[-n:] != parts[-n:] for o in others) or n == len(parts)
        )
        names.append(".".join(parts[-length:]))
    return names


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
