"""Page of an evaluation: tables and pictures in one HTML file that needs no network and no script."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fieldforge.rendering.bitmaps import write_whole
from fieldforge.rendering.gallery import asset, filled

LARGEST = 16_383  # pixels along a side, the most that WebP holds


@dataclass(frozen=True)
class Table:
    """A table of the page: its title, what it says in small print, heads of its columns, and texts row by row.

    The first cell of a row is its head; lines after its first one are small print.
    """

    title: str
    note: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report_page(
    path: Path, title: str, subtitle: str, tables: Sequence[Table], pictures: Sequence[Path] = ()
) -> None:
    """Write the page, atomically. All texts are escaped.

    Args:
        path: of the file.
        title, subtitle: of the page.
        tables: in their order; those without rows are left out.
        pictures: files that the page holds copies of; those that are not there are left out.
    """
    page = filled(
        asset("report.html"),
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        style=asset("gallery.css") + asset("comparison.css") + asset("report.css"),
        tables="\n".join(_section(table) for table in tables if table.rows),
        pictures="\n".join(_figure(picture) for picture in pictures if picture.is_file()),
    )
    write_whole(page.encode(), path)


def _section(table: Table) -> str:
    heads = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in table.heads)
    body = "".join(f"<tr>{_head(row[0])}{''.join(map(_cell, row[1:]))}</tr>" for row in table.rows)
    return (
        f"<section><h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>"
        f'<div class="measures"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )


def _head(text: str) -> str:
    first, _, rest = text.partition("\n")
    small = f"<small>{html.escape(rest)}</small>" if rest else ""
    return f'<th scope="row">{html.escape(first)}{small}</th>'


def _cell(text: str) -> str:
    return f"<td>{html.escape(text)}</td>"


def _figure(path: Path) -> str:
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        if max(picture.size) > LARGEST:
            picture.thumbnail((LARGEST, LARGEST))
        picture.convert("RGB").save(buffer, "WEBP", quality=85)
    content = base64.b64encode(buffer.getvalue()).decode()
    name = html.escape(path.name)
    return f'<figure><img src="data:image/webp;base64,{content}" alt="{name}"><figcaption>{name}</figcaption></figure>'
