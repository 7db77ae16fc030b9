"""Label tables for the files of a folder: CSV, tab-separated, or JSON lines."""

import ast
import codecs
import csv
import json
import logging
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fieldforge.errors import UserError
from fieldforge.readers.file_store import plain_text

log = logging.getLogger(__name__)

SPLITS = ("train", "heldout")
COLUMNS = ("file", "name", "class", "caption", "captions", "tags", "split", "licence", "creator")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
MISSING = ("nan", "NaN", "<NA>")
"""What pandas writes where it has no value."""

MAX_LIST = 20_000
"""Characters of a Python list in a cell, at most."""

TUPLE = re.compile(r"""(\(\s*['"].{0,20000}['"]\s*,?\s*\)|\{\s*['"].{0,20000}['"]\s*\})""", re.DOTALL)
"""What may be a tuple or a set of texts as Python writes them."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Label:
    """A table's entry for one file. Empty values leave the default."""

    name: str = ""
    asset_class: str = ""
    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    split: str = ""
    licence: str = ""
    creator: str = ""


def read_labels(path: Path, endings: Collection[str]) -> dict[str, Label]:
    """File → label of files with these `endings`, as `same_name` spells them.

    UserError naming line and column of what is wrong.
    """
    if not path.is_file():
        raise UserError(f"source.labels={path}: there is no such file; correct the path.")
    ending = path.suffix.lower()
    if ending in (".csv", ".txt", ".tsv", ".tab"):
        rows = _table_rows(_text_of(path), path, endings, tabs=ending in (".tsv", ".tab"))
    elif ending in (".jsonl", ".ndjson", ".json"):
        rows = _json_rows(_text_of(path), path)
    else:
        raise UserError(f"source.labels={path}: is no table that is read; save it as .csv, .tsv or .jsonl.")
    labels: dict[str, Label] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        _check_columns([str(key) for key in row], where)
        file = _text(row, "file", where)
        if not file:
            raise UserError(
                f"{where}: the column 'file' is empty; write the file's path relative to source.path there."
            )
        if same_name(file) in labels:
            raise UserError(f"{where}: '{file}' is there twice; keep one line a file.")
        labels[same_name(file)] = _label(row, where)
    if not labels:
        raise UserError(f"{path}: holds no row; write one for each file, or leave source.labels out.")
    return labels


def same_name(file: str) -> str:
    """One spelling for all of a path: slashes forward, no "." in it, accents composed (macOS takes them apart)."""
    parts = unicodedata.normalize("NFC", file).replace("\\", "/").split("/")
    return "/".join(part for index, part in enumerate(parts) if part != "." and (part or not index))


def _text_of(path: Path) -> str:
    payload = path.read_bytes()
    if payload.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        log.warning("%s: is UTF-16, and read as such", path)
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        text = payload.decode(encoding)
    except UnicodeDecodeError as error:
        line = payload[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}, line {line}: byte {payload[error.start]:#x} is not {encoding.upper().removesuffix('-SIG')}; "
            "save the table as UTF-8."
        ) from error
    if "\0" in text:
        raise UserError(f"{path}: holds null characters, as UTF-16 without a mark does; save the table as UTF-8.")
    return text


def _table_rows(text: str, path: Path, endings: Collection[str], tabs: bool) -> Iterator[tuple[int, Row]]:
    """Rows with the lines that they begin at. Columns without a name and without content are left out."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", text)
    first = 1 if lines and re.fullmatch(r"sep=.", lines[0].strip()) else 0  # Excel's
    first += next((index for index, line in enumerate(lines[first:]) if line.strip()), 0)
    separator = _separator(lines[first] if lines[first:] else "", path, tabs)
    header: list[str] | None = None
    for line, cells in _cells(lines, first, separator, path, endings):
        where = f"{path}, line {line}"
        if header is None:
            header = [cell.strip().lower() for cell in cells]
            _check_columns([name for name in header if name], where)
            if "file" not in header:
                raise UserError(f"{where}: the header has no column 'file'; the columns are {', '.join(COLUMNS)}.")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        for index, cell in enumerate(cells):
            if cell.strip() and not (index < len(header) and header[index]):
                raise UserError(
                    f"{where}: the cell '{cell.strip()[:60]}' has no column in the header; "
                    f"put a text that holds {SEPARATORS[separator]} in quotation marks."
                )
        yield line, {name: cell for name, cell in zip(header, cells, strict=False) if name}


def _separator(header: str, path: Path, tabs: bool) -> str:
    """The separator with which the header has a column 'file'."""
    usual = "\t" if tabs else ","
    for separator in (usual, *(each for each in SEPARATORS if each != usual)):
        if "file" in [cell.strip().strip('"').strip().lower() for cell in header.split(separator)]:
            if separator != usual:
                log.warning("%s: its cells are separated by %s, and read so", path, SEPARATORS[separator])
            return separator
    return usual


def _cells(
    lines: list[str], first: int, separator: str, path: Path, endings: Collection[str]
) -> Iterator[tuple[int, list[str]]]:
    """Cells of each row, with the line it begins at. UserError where a quotation mark swallows rows."""
    reader = csv.reader(lines[first:], delimiter=separator, strict=True)
    begin = first
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{path}, line {begin + 1}: its quotation marks do not close where a cell ends ({error}); "
                'write those inside a quoted text twice ("").'
            ) from error
        end = first + reader.line_num
        for number in range(begin + 1, end):
            if any(_names_file(cell, endings) for cell in lines[number].split(separator)):
                raise UserError(
                    f"{path}, line {begin + 1}: a quotation mark takes in line {number + 1}, which looks like a row of "
                    "its own; close it where the text ends."
                )
        if cells:
            yield begin + 1, cells
        begin = end


def _names_file(cell: str, endings: Collection[str]) -> bool:
    return cell.strip().strip('"').strip().lower().endswith(tuple(f".{ending}" for ending in endings))


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Row]]:
    """Objects with their lines. Only a line feed ends a line: texts may hold other separators (U+2028)."""
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                row = json.loads(content, parse_constant=_constant)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{path}, line {line}: not readable as JSON ({error}); write one object a line."
                ) from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {line}: not a JSON object; write one object a line.")
            yield line, row


def _constant(name: str) -> None:
    """NaN stands for no value; infinities for nothing."""
    if name != "NaN":
        raise ValueError(f"{name} is no value of JSON")


def _check_columns(names: list[str], where: str) -> None:
    for index, name in enumerate(names):
        if name not in COLUMNS:
            raise UserError(f"{where}: unknown column '{name}'; the columns are {', '.join(COLUMNS)}.")
        if name in names[:index]:
            raise UserError(f"{where}: the column '{name}' is there twice; keep one of them.")


def _label(row: Row, where: str) -> Label:
    split = _text(row, "split", where)
    if split and split not in SPLITS:
        raise UserError(f"{where}: split '{split}' is unknown; write train or heldout, or leave it empty.")
    captions = [*_texts(row, "caption", None, where), *_texts(row, "captions", "|", where)]
    return Label(
        name=_text(row, "name", where),
        asset_class=_text(row, "class", where),
        captions=tuple(dict.fromkeys(captions)),
        tags=tuple(_texts(row, "tags", ",", where)),
        split=split,
        licence=_text(row, "licence", where),
        creator=_text(row, "creator", where),
    )


def _text(row: Row, key: str, where: str) -> str:
    value = row.get(key)
    if isinstance(value, bool | list | dict):
        raise UserError(f"{where}: '{key}' must be a text, not {json.dumps(value)[:60]}; correct it.")
    text = "" if value is None else plain_text(str(value)).strip()
    return "" if text in MISSING else text


def _texts(row: Row, key: str, separator: str | None, where: str) -> list[str]:
    """A list, also one written into a cell, or a text, cut at the separator if there is one."""
    value = row.get(key)
    if value is None:
        return []
    if isinstance(value, str):
        value = value.strip()
        if value.startswith("[") and value.endswith("]"):
            value = _listed(value, key, where)
        elif TUPLE.fullmatch(value):
            value = _tupled(value)
        else:
            value = [value] if separator is None else value.split(separator)
    if not isinstance(value, list) or not all(part is None or isinstance(part, str) for part in value):
        between = f", or one text with '{separator}' between them" if separator else ", or a text"
        raise UserError(f"{where}: '{key}' must be a list of texts{between}; correct it.")
    texts = [plain_text(part).strip() for part in value if part is not None]
    return [text for text in texts if text and text not in MISSING]


def _listed(cell: str, key: str, where: str) -> Any:
    """The list that a cell holds, as JSON or as Python writes it; read as data, nothing in it is run."""
    try:
        return json.loads(cell, parse_constant=_constant)
    except (ValueError, RecursionError):
        pass
    if len(cell) > MAX_LIST or re.search(r"""['"]\s+['"]""", cell):  # Python would join texts without a comma
        _refuse_list(cell, key, where)
    try:
        return ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        _refuse_list(cell, key, where)


def _tupled(cell: str) -> list[Any]:
    """The tuple or set of texts that a cell holds, as Python writes it; the cell itself where it holds none."""
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return [cell]
    texts = isinstance(value, tuple | set) and all(isinstance(part, str) for part in value)
    return (sorted(value) if isinstance(value, set) else list(value)) if texts else [cell]


def _refuse_list(cell: str, key: str, where: str) -> NoReturn:
    raise UserError(
        f"{where}: '{key}' looks like a list but cannot be read as one ({cell[:60]}); "
        'write ["a chair", "a seat"], or texts with a vertical bar between them.'
    )
