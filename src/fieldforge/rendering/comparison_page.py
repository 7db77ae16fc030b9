"""Page of a comparison: a table of measures, and for each prompt a row of exhibits for each model.

One HTML file that needs no network; shapes turn as those of the gallery.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fieldforge.rendering.bitmaps import write_whole
from fieldforge.rendering.gallery import VIEWER_NOTICE, Exhibit, asset, card, filled, scripts


@dataclass(frozen=True)
class TableRow:
    """A row of the table of measures: its title, what it says in small print, and a cell for each model."""

    title: str
    note: str
    cells: Sequence[str]


def write_comparison(
    path: Path,
    title: str,
    subtitle: str,
    models: Sequence[str],
    table: Sequence[TableRow],
    exhibits: Mapping[str, Sequence[Sequence[Exhibit]]],
) -> None:
    """Write the page, atomically. All texts are escaped.

    Args:
        path: of the file.
        title, subtitle: of the page.
        models: names of the table's columns, and of each prompt's rows.
        table: rows of measures.
        exhibits: prompt → model → its exhibits.
    """
    numbers = count()
    sections = [_section(prompt, models, rows, numbers) for prompt, rows in exhibits.items()]
    page = filled(
        asset("comparison.html"),
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        style=asset("gallery.css") + asset("comparison.css"),
        table=_table(models, table),
        sections="\n".join(sections),
        script=scripts(),
        viewer_notice=VIEWER_NOTICE,
        viewer=asset("model-viewer.min.js"),
    )
    write_whole(page.encode(), path)


def _table(models: Sequence[str], rows: Sequence[TableRow]) -> str:
    heads = "".join(f'<th scope="col">{html.escape(model)}</th>' for model in models)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row.title)}<small>{html.escape(row.note)}</small></th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row.cells)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _section(prompt: str, models: Sequence[str], rows: Sequence[Sequence[Exhibit]], numbers: count[int]) -> str:
    lines = "".join(
        f'<h3>{html.escape(model)}</h3><div class="line">{"".join(card(next(numbers), one) for one in row)}</div>'
        for model, row in zip(models, rows, strict=True)
    )
    return f"<section><h2>{html.escape(prompt)}</h2>{lines}</section>"
