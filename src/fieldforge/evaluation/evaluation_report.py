"""The report of an evaluation: a JSON file, and beside it a page with intervals over samples.

Axis letter: N samples.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fieldforge.domains.domain import Domain, Outputs
from fieldforge.metrics.bootstrap import Figure, Resampling
from fieldforge.metrics.measures import MEASURES, Measure, measure_of
from fieldforge.rendering.bitmaps import write_picture, write_whole
from fieldforge.rendering.report_page import Table, write_report_page
from fieldforge.terminal import result
from fieldforge.training.processes.side_files import side_file

ARROWS = {"higher": "↑ higher", "lower": "↓ lower", "neither": "between"}
INTERVALS = "95 % intervals by resampling"
Sheet = Callable[[], Image.Image]
"""Draws a sheet of pictures."""


@dataclass(frozen=True)
class Column:
    """Samples measured in one way, which are a column of a table.

    Args:
        title: of the column.
        values: measure → (N,) values; NaN where it does not apply.
        groups: (N,) numbers of the groups, below their count, of samples that resemble each other; None: all differ.
        sets: split → measures of the set of samples.
    """

    title: str
    values: Mapping[str, NDArray[np.floating]]
    groups: NDArray[np.integer] | None = None
    sets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @staticmethod
    def of_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> Column:
        """A column of N rows of measures; what is no number is left out."""
        names = [name for name, value in rows[0].items() if isinstance(value, float)] if rows else []
        return Column(title, {name: np.array([row[name] for row in rows]) for name in names})

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Measure → mean with its interval, for those that some sample has."""
        measured = {name: values for name, values in self.values.items() if np.isfinite(values).any()}
        if not measured:
            return {}
        count = len(next(iter(measured.values())))
        groups = np.arange(count) if self.groups is None else self.groups
        resampling = Resampling.of(int(groups.max()) + 1)
        return {name: resampling.figure(values, groups) for name, values in measured.items()}

    @property
    def plain(self) -> dict[str, dict[str, float]]:
        """The figures for JSON."""
        return {name: asdict(figure) for name, figure in self.figures.items()}


def columns_of(domain: Domain, outputs: Mapping[str, Sequence[Outputs]], truth: Tensor) -> list[Column]:
    """A column for each way to N outputs, with the domain's measures against the truth (N, …), their `input`."""
    return [
        Column.of_rows(
            way, [domain.measure(*pair) for pair in zip(each, ({"input": one} for one in truth.split(1)), strict=True)]
        )
        for way, each in outputs.items()
    ]


def figures_of(columns: Sequence[Column]) -> dict[str, Any]:
    """`mean` and `intervals` of a report: way → measure → figures."""
    return {
        "mean": {column.title: {name: one.mean for name, one in column.figures.items()} for column in columns},
        "intervals": {column.title: column.plain for column in columns},
    }


def print_means(columns: Sequence[Column]) -> None:
    """A line for each column."""
    for column in columns:
        result(f"{column.title:28s}" + "  ".join(f"{name} {one.mean:.4f}" for name, one in column.figures.items()))


def table_of(title: str, note: str, columns: Sequence[Column], references: Mapping[str, str] | None = None) -> Table:
    """A row for each measure, with its unit, direction and reference, then those of sets, which have no intervals.

    references: measure → what it is compared with, in the place of the usual.
    """
    known = {**{name: measure.reference for name, measure in MEASURES.items()}, **(references or {})}
    names = list(dict.fromkeys(name for column in columns for name in column.figures))
    names.sort(key=lambda name: list(MEASURES).index(name) if name in MEASURES else len(MEASURES))
    rows = [
        [*_about(measure_of(name), known.get(name, "")), *(_figure(measure_of(name), column) for column in columns)]
        for name in names
    ]
    for split in dict.fromkeys(split for column in columns for split in column.sets):
        for name in dict.fromkeys(name for column in columns for name in column.sets.get(split, {})):
            values = [column.sets.get(split, {}).get(name, float("nan")) for column in columns]
            rows.append([*_about(measure_of(name), f"split {split}"), *map(measure_of(name).text, values)])
    return Table(title, note, ["measure", "unit", "better", "compared with", *(one.title for one in columns)], rows)


def _about(measure: Measure, reference: str) -> list[str]:
    return [f"{measure.title}\n{measure.name}", measure.unit_text, ARROWS[measure.better], reference]


def _figure(measure: Measure, column: Column) -> str:
    one = column.figures.get(measure.name)
    if one is None:
        return measure.text(float("nan"))
    return f"{measure.text(one.mean)}\n{measure.text(one.low)} … {measure.text(one.high)}"


def write_report(
    path: Path, report: Mapping[str, Any], title: str, tables: Sequence[Table], sheets: Mapping[str, Sheet]
) -> None:
    """Write the report as JSON, pictures, and the page of both beside it, `.html`.

    Args:
        path: of the JSON file.
        report: plain values; NaN, which JSON has not, become null.
        title: of the page.
        tables: of the page.
        sheets: file name → draws the picture; one that cannot be drawn is left out with a warning.
    """
    write_whole(plain_json(report), path)
    for name, sheet in sheets.items():
        with side_file(path.with_name(name)):
            write_picture(sheet(), path.with_name(name))
    page = path.with_suffix(".html")
    with side_file(page):
        pictures = [path.with_name(name) for name in sheets]
        write_report_page(page, title, str(report.get("run", "")), tables, pictures)


def plain_json(report: Any) -> bytes:
    """The report as JSON; NaN, which JSON has not, are null."""
    return json.dumps(_without_nan(report), indent=2, ensure_ascii=False).encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
