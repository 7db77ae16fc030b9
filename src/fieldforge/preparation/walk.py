"""Lists all files below a folder, follows links, and stays free of cycles and inside the folder."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fieldforge.readers.file_store import reachable_folders

MAX_VISITS = 8
"""A folder is listed under at most so many names: folders full of links to each other have more than can be listed."""


@dataclass(frozen=True)
class Walk:
    """Names relative to the folder: of its files, sorted; and of entries left out, with the reason."""

    files: list[str]
    left_out: list[tuple[str, str]]


def walk(root: Path) -> Walk:
    """Every file below `root`. A link to a folder is followed if it ends in one of `reachable_folders(root)`.

    A link to a folder that it lies in is not listed again. Links to files are all listed; a store reads those that end
    in the same folders.
    """
    reachable = reachable_folders(root)
    files: list[str] = []
    left_out: list[tuple[str, str]] = []
    visits: Counter[Path] = Counter()
    open_folders: list[tuple[str, tuple[Path, ...]]] = [("", (reachable[0],))]  # name, real folders down to it
    while open_folders:
        folder, above = open_folders.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            left_out.append((folder, f"it cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if entry.is_file():
                    files.append(name)
                    continue
                real = Path(entry.path).resolve(strict=True)
                is_folder = real.is_dir()
            except (OSError, RuntimeError):  # a link to nothing, or to itself
                left_out.append((name, "it leads nowhere"))
                continue
            if not is_folder or real in above:
                continue
            visits[real] += 1
            if not any(map(real.is_relative_to, reachable)):
                left_out.append((name, "it leads out of the folder"))
            elif visits[real] > MAX_VISITS:
                left_out.append((name, f"its folder is listed under {MAX_VISITS} names already"))
            else:
                open_folders.append((name, (*above, real)))
    return Walk(sorted(files), sorted(left_out))
