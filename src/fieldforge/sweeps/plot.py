"""Parallel coordinates of a sweep: a vertical axis for each key and one for the objective, a line for each trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldforge.sweeps.records import FAILED, FINISHED, PRUNED
from fieldforge.sweeps.trial_table import Row, Table, short_names, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 1.3  # numbers that span more than so many powers of ten are drawn on a logarithmic axis
COLORS = {PRUNED: "0.6", FAILED: "tab:red"}
DASHES = {PRUNED: "--", FAILED: ":"}


@dataclass(frozen=True)
class Axis:
    """An axis: positions of values between 0 (bottom) and 1, and its labels."""

    title: str
    heights: dict[Any, float]
    ticks: list[tuple[float, str]]
    apart: float  # lines through one point are drawn so far apart

    @staticmethod
    def of(title: str, values: Sequence[Any]) -> Axis:
        """Numbers on a linear or logarithmic scale, anything else evenly spaced."""
        different = sorted(set(values), key=_order)
        if len(different) > 1 and all(isinstance(value, float) for value in different):
            scaled = math.log10 if _spans_decades(different) else float
            low, high = scaled(different[0]), scaled(different[-1])
            heights = {value: (scaled(value) - low) / (high - low) for value in different}
            places = [low + (high - low) * share for share in (0, 0.25, 0.5, 0.75, 1)]
            texts = [shown(float(f"{10**place if scaled is math.log10 else place:.3g}")) for place in places]
            return Axis(title, heights, list(zip((0, 0.25, 0.5, 0.75, 1), texts, strict=True)), 0.0)
        steps = max(1, len(different) - 1)
        heights = {value: index / steps if len(different) > 1 else 0.5 for index, value in enumerate(different)}
        return Axis(title, heights, [(heights[value], shown(value)) for value in different], 0.05 / steps)


def write_plot(table: Table, path: Path) -> None:
    """A PNG with the trials of the table: finished ones coloured from the best (dark) to the worst, on top the best.

    Lines of pruned and failed trials end before the objective's axis: they have no final value. No plot is drawn for
    fewer than two trials.
    """
    if len(table.rows) < 2 or not table.keys:
        return
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    axes = [
        Axis.of(name, [row.values[key] for row in table.rows if key in row.values])
        for key, name in zip(table.keys, short_names(table.keys), strict=True)
    ]
    finished = [row for row in table.ranked if row.state == FINISHED and row.value is not None]
    if finished:
        axes.append(Axis.of(table.objective, [float(row.value) for row in finished if row.value is not None]))
    figure = Figure(figsize=(max(6.0, 1.9 * len(axes) + 1.2), 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    drawing = figure.add_subplot()
    for place, axis in enumerate(axes):
        _draw_axis(drawing, place, axis)
    _draw_rows(drawing, table, axes, finished, colormaps["viridis"])
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    _leave_axes_alone(drawing, axes)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, format="png")
    temporary.replace(path)


def _draw_rows(
    drawing: Axes, table: Table, axes: Sequence[Axis], finished: Sequence[Row], colors: Callable[[float], Any]
) -> None:
    """A line for each trial, and for the legend one of each kind."""
    for rank, row in reversed(list(enumerate(finished))):
        style = {"color": colors(0.92 * rank / max(1, len(finished) - 1)), "lw": 2.6 if rank == 0 else 1.5, "zorder": 3}
        _draw_row(drawing, row, table, axes, **style)
    for row in table.rows:
        if row.state in COLORS:
            _draw_row(drawing, row, table, axes, color=COLORS[row.state], lw=1.1, ls=DASHES[row.state], zorder=2)
    if finished:
        drawing.plot([], [], color=colors(0.0), lw=2.6, label="best")
    if len(finished) > 1:
        drawing.plot([], [], color=colors(0.92), lw=1.5, label="worst finished")
    kinds = {row.state for row in table.rows}
    for kind in COLORS:
        if kind in kinds:
            drawing.plot([], [], color=COLORS[kind], ls=DASHES[kind], lw=1.1, label=kind)


def _leave_axes_alone(drawing: Axes, axes: Sequence[Axis]) -> None:
    """Titles above the axes, and no frame."""
    drawing.set(xlim=(-0.35, len(axes) - 0.45), ylim=(-0.06, 1.06))
    drawing.set_xticks(range(len(axes)), [axis.title for axis in axes])
    drawing.xaxis.tick_top()
    drawing.tick_params(length=0, labelsize=10)
    drawing.set_yticks([])
    for spine in drawing.spines.values():
        spine.set_visible(False)


def _draw_axis(drawing: Axes, place: int, axis: Axis) -> None:
    drawing.axvline(place, 0.05, 0.95, color="0.2", lw=1, zorder=4)
    for height, text in axis.ticks:
        drawing.annotate(
            text,
            (place, height),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75},
        )


def _draw_row(drawing: Axes, row: Row, table: Table, axes: Sequence[Axis], **style: Any) -> None:
    shift = (table.rows.index(row) / max(1, len(table.rows) - 1) - 0.5) * 2  # -1 … 1
    points = [
        (place, axis.heights[row.values[key]] + shift * axis.apart)
        for place, (key, axis) in enumerate(zip(table.keys, axes, strict=False))
        if key in row.values
    ]
    if row.state == FINISHED and row.value is not None:
        points.append((len(axes) - 1, axes[-1].heights[float(row.value)]))
    drawing.plot(*zip(*points, strict=True), **style)


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by size, also those written as text, before words."""
    try:
        return (False, float(value), "")
    except ValueError:
        return (True, 0.0, str(value))


def _spans_decades(ordered: Sequence[float]) -> bool:
    return ordered[0] > 0 and math.log10(ordered[-1] / ordered[0]) > DECADES
