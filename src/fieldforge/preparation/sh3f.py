"""Sweet Home 3D furniture libraries (`.sh3f`): zips of OBJ models with a catalogue in Java properties."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fieldforge.errors import UserError
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.readers.file_store import AssetError, ZipStore, normal_member

CATALOGUE = "PluginFurnitureCatalog"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def parse_properties(payload: bytes) -> dict[str, str]:
    r"""Java properties: Latin-1 with \uXXXX, continued lines, `=`, `:` or blank between key and value.

    As `java.util.Properties.load` reads them; a key's last value counts.
    """
    values: dict[str, str] = {}
    logical = ""
    for line in [*payload.decode("latin-1").splitlines(), ""]:
        line = line.lstrip(" \t\f")
        if not logical and line[:1] in ("#", "!"):
            continue
        if (len(line) - len(line.rstrip("\\"))) % 2:  # an odd number of backslashes at the end: goes on below
            logical += line[:-1]
            continue
        logical += line
        match = re.match(r"((?:\\.|[^\\\s=:])*)\s*[=:]?\s*(.*)", logical, re.DOTALL)
        if logical and match is not None:
            values[_unescape(match[1])] = _unescape(match[2])
        logical = ""
    return values


def _unescape(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPES.get(code, code)

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", character, text)


def read_library(
    path: Path,
    max_file_bytes: int,
    classes: Mapping[str, Sequence[str]],
    dropped_tags: Sequence[str],
    exclude: Mapping[str, str],
    licences: Mapping[str, str],
) -> list[AssetRecord]:
    """Records of all models of a library, in the catalogue's order. UserError if it has no readable catalogue.

    `classes` class → keywords (see `class_of`); `dropped_tags` say nothing about shape; `exclude` id → reason;
    `licences` pattern in the catalogue's licence text → its SPDX name.
    """
    store, catalogue = _open(path, max_file_bytes)
    languages, licence = _languages(store), _licence(catalogue.get("license", "unknown"), licences)
    dropped = {tag.lower() for tag in dropped_tags}
    records = []
    for number in _places(catalogue):
        entry = {key: catalogue.get(f"{key}#{number}", "").strip() for key in _KEYS}
        asset_id = _asset_id(catalogue, number, path)
        file, complaint = _file(entry["model"])
        record = AssetRecord(
            id=asset_id,
            name=entry["name"],
            archive=str(path),
            file=file,
            source=catalogue.get("name", path.stem),
            asset_class=class_of(entry["name"], classes),
            names_by_language=_names(languages, number),
            tags=tuple(tag for tag in map(str.strip, entry["tags"].split(",")) if tag and tag.lower() not in dropped),
            licence=licence,
            creator=entry["creator"] or catalogue.get("provider", "unknown"),
            rotation=_rotation(entry["modelRotation"]),
            size_cm=_size(entry),
            reject=exclude.get(asset_id) or complaint,
        )
        records.append(record)
    if not records:
        raise UserError(f"{path}: its catalogue lists no models; get the file again.")
    return records


def read_icons(path: Path, max_file_bytes: int = 2**24) -> dict[str, bytes]:
    """Asset id → picture file of the catalogue, as far as there is one. UserError as for `read_library`."""
    store, catalogue = _open(path, max_file_bytes)
    icons: dict[str, bytes] = {}
    for number in _places(catalogue):
        asset_id = _asset_id(catalogue, number, path)
        icon = catalogue.get(f"icon#{number}", "").strip().lstrip("/")
        if icon in store.names():
            icons[asset_id] = store.read(icon)
    return icons


def _open(path: Path, max_file_bytes: int) -> tuple[ZipStore, dict[str, str]]:
    store = ZipStore(path, max_file_bytes)
    try:
        return store, parse_properties(store.read(f"{CATALOGUE}.properties"))
    except AssetError as error:
        raise UserError(f"{path}: not a furniture library ({error}) Get the file again.") from error


def _places(catalogue: Mapping[str, str]) -> Iterator[int]:
    """Numbers of the models: from 1, without gaps."""
    return itertools.takewhile(lambda number: f"name#{number}" in catalogue, itertools.count(1))


def _languages(store: ZipStore) -> dict[str, dict[str, str]]:
    """Code of a language → the catalogue's texts in it."""
    return {
        match[1]: parse_properties(store.read(name))
        for name in store.names()
        if (match := re.fullmatch(rf"{CATALOGUE}_(\w+)\.properties", name))
    }


def _names(languages: Mapping[str, Mapping[str, str]], number: int) -> tuple[tuple[str, str], ...]:
    """(language, name) of a model, where it has one."""
    every = ((code, texts.get(f"name#{number}", "").strip()) for code, texts in sorted(languages.items()))
    return tuple(pair for pair in every if pair[1])


def _licence(text: str, licences: Mapping[str, str]) -> str:
    """SPDX name of the first pattern in the text; the text itself where there is none."""
    return next((name for pattern, name in licences.items() if pattern.lower() in text.lower()), text)


def _file(model: str) -> tuple[str, str | None]:
    """Member of the library that a model lies in, and why it cannot be read."""
    try:
        return normal_member(model.lstrip("/")), None
    except AssetError as error:
        return model, str(error)


def _asset_id(catalogue: Mapping[str, str], number: int, path: Path) -> str:
    return catalogue.get(f"id#{number}", "").strip() or f"{catalogue.get('name', path.stem)}#{number}"


_KEYS = ("name", "tags", "width", "depth", "height", "model", "modelRotation", "creator")


def _rotation(text: str) -> tuple[tuple[float, ...], ...] | None:
    numbers = _numbers(text.split())
    return None if len(numbers) != 9 else tuple(tuple(numbers[row : row + 3]) for row in (0, 3, 6))


def _size(entry: Mapping[str, str]) -> tuple[float, float, float] | None:
    numbers = _numbers([entry["width"], entry["height"], entry["depth"]])
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 and min(numbers) > 0 else None


def _numbers(words: Sequence[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        return []


def class_of(name: str, classes: Mapping[str, Sequence[str]]) -> str:
    """The class of the keyword that ends last in the name, the longest of these; "other" if there is none.

    Keywords are whole words, with or without a plural s. In English the thing itself comes last ("glass door cabinet"),
    and after "with", a comma or a dash it is only described.
    """
    thing = re.split(r" with |,| - ", name.lower())[0]
    best, label_of_best = (0, 0), "other"
    for label, keywords in classes.items():
        for keyword in keywords:
            for match in re.finditer(rf"(?<![^\W_]){re.escape(keyword.lower())}(?:s|es)?(?![^\W_])", thing):
                if (match.end(), len(keyword)) > best:
                    best, label_of_best = (match.end(), len(keyword)), label
    return label_of_best
