"""Resolution of file references inside assets, tolerant of common errors, and never outside of the store."""

import unicodedata
from collections.abc import Callable
from functools import cache
from urllib.parse import unquote

from fieldforge.readers.file_store import AssetError, FileStore, normal_member, plain_text

MAX_REFERENCE = 1024
"""A longer text is no path of any system."""


def read_beside(store: FileStore, folder: str, reference: str, *further: str) -> bytes | None:
    """Content of a file that a file in `folder` refers to; None if it is not there (see `find_beside`).

    AssetError if it is there and cannot be read: too big, damaged, a link that leads out of the store.
    """
    name = find_beside(store, folder, reference, *further)
    return None if name is None else store.read(name)


def find_beside(store: FileStore, folder: str, reference: str, *further: str) -> str | None:
    """The store's name of a file that a file in `folder` refers to, or None. `further` folders come after `folder`.

    The first that is there counts, in this order: the reference as it stands before its readings (without quotes,
    percent-decoded, its bytes in another encoding); the whole path before its ends ("C:/a/wood.png": "a/wood.png",
    "wood.png"), as paths of other machines do not hold here; `folder` before `further`. In each folder the exact name
    comes first, then the first in the order of names that differs in case or Unicode form only.
    """
    entries = cache(store.entries)
    for reading in _readings(reference):
        parts = reading.replace("\\", "/").split("/")
        for start in range(len(parts)):
            for base in dict.fromkeys((folder, *further)):
                path = "/".join([base, *parts[start:]] if base else parts[start:])
                match = _exact(store, path) or _resolve(entries, path)
                if match is not None:
                    return match
    return None


def fold_name(name: str) -> str:
    """Canonical form of a name, independent of case, Unicode form, and bytes that are not UTF-8."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", plain_text(name)).casefold())


def _readings(reference: str) -> list[str]:
    """The ways to read a reference, the likeliest first, each once."""
    if not reference or len(reference) > MAX_REFERENCE:
        return []
    plain = reference.strip()
    readings = [reference, plain, plain.strip("\"'").strip()]
    readings += [unquote(text) for text in readings]
    for text in list(readings):  # a zip without the mark of UTF-8 shows its names as if they were code page 437
        for encoding in ("utf-8", "cp1252"):
            raw = text.encode(encoding, "replace")
            if not raw.isascii():
                readings.append(raw.decode("cp437"))
    return [text for text in dict.fromkeys(readings) if text and "\0" not in text]


def _exact(store: FileStore, path: str) -> str | None:
    """The file with exactly this path, without a listing of its folder."""
    try:
        name = normal_member(path)
        store.size(name)
    except AssetError:
        return None
    return name


def _resolve(entries: Callable[[str], tuple[list[str], list[str]]], path: str) -> str | None:
    """The file of this path, where each part may differ in case or Unicode form."""
    try:
        parts = normal_member(path).split("/")
    except AssetError:
        return None
    resolved = ""
    for depth, part in enumerate(parts):
        folders, files = entries(resolved)
        names = folders if depth < len(parts) - 1 else files
        if part not in names:
            folded = fold_name(part)
            part = next((name for name in names if fold_name(name) == folded), "")
        if not part:
            return None
        resolved = f"{resolved}/{part}" if resolved else part
    return resolved or None
