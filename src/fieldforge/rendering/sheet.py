"""Sheets: a grid of pictures with labels for rows and columns."""

import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from fieldforge.rendering.bitmaps import PAPER, flatten
from fieldforge.rendering.font import label_font

INK, FAINT = (38, 38, 42), (222, 222, 218)
GAP = 6  # pixels between pictures


def picture_sheet(
    rows: Sequence[Sequence[Image.Image | None]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str = "",
    cell: int = 160,
) -> Image.Image:
    """One RGB picture of a grid of pictures, each fitted into cell × cell pixels; None leaves a cell empty.

    Labels are wrapped, row labels to the left of their row, column labels above their column.
    """
    columns = max((len(row) for row in rows), default=0)
    assert row_labels is None or len(row_labels) == len(rows), f"{len(row_labels or [])} labels for {len(rows)} rows"
    assert column_labels is None or len(column_labels) == columns, f"{len(column_labels or [])} labels for {columns}"
    font, large = label_font(max(11, cell // 11)), label_font(max(14, cell // 8))
    heads = [_wrapped(label, font, cell - 2 * GAP) for label in column_labels or []]
    line = font.size * 1.25
    left = round(0.9 * cell) if row_labels is not None else GAP
    title_height = round(large.size * 1.9) if title else 0
    top = title_height + (round(max(len(head) for head in heads) * line) + 2 * GAP if heads else GAP)

    size = (left + columns * (cell + GAP), top + len(rows) * (cell + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((GAP * 2, GAP * 1.5), title, fill=INK, font=large)
    for index, head in enumerate(heads):
        _write(draw, head, left + index * (cell + GAP) + cell / 2, top - GAP - len(head) * line, line, font, "ma")
    for row_index, row in enumerate(rows):
        y = top + row_index * (cell + GAP)
        draw.line([(GAP, y - GAP // 2), (size[0] - GAP, y - GAP // 2)], fill=FAINT)
        if row_labels is not None:
            label = _wrapped(row_labels[row_index], font, left - 3 * GAP)
            _write(draw, label, 2 * GAP, y + (cell - len(label) * line) / 2, line, font, "la")
        for column_index, picture in enumerate(row):
            if picture is not None:
                _paste(sheet, picture, left + column_index * (cell + GAP), y, cell)
    return sheet


def text_picture(text: str, size: int) -> Image.Image:
    """A text as an RGB picture, size × size pixels, in letters as large as let it fit; a longer one loses its end."""
    picture = Image.new("RGB", (size, size), PAPER)
    draw, room = ImageDraw.Draw(picture), size - 4 * GAP
    for height in range(size // 8, 7, -1):
        font, line = label_font(height), height * 1.25
        lines = _wrapped(text, font, room)
        if len(lines) * line <= room and all(font.getlength(one) <= room for one in lines):
            break
    lines = lines[: int(room // line)]
    _write(draw, lines, size / 2, (size - len(lines) * line) / 2, line, font, "ma")
    return picture


def _paste(sheet: Image.Image, picture: Image.Image, x: int, y: int, cell: int) -> None:
    """The picture in the middle of the cell whose corner is (x, y)."""
    small = flatten(picture)
    small.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    sheet.paste(small, (x + (cell - small.width) // 2, y + (cell - small.height) // 2))


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """The text in lines no wider than that many pixels, as far as its words allow."""
    lines: list[str] = []
    for paragraph in unicodedata.normalize("NFC", text).split("\n"):  # marks are not put on letters by Pillow itself
        lines.append("")
        for word in paragraph.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and font.getlength(longer) > width:
                lines.append(word)
            else:
                lines[-1] = longer
    return lines


def _write(
    draw: ImageDraw.ImageDraw,
    lines: list[str],
    x: float,
    y: float,
    line: float,
    font: ImageFont.FreeTypeFont,
    anchor: str,
) -> None:
    for index, text in enumerate(lines):
        draw.text((x, y + index * line), text, fill=INK, font=font, anchor=anchor)
