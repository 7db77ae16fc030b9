"""Prompts: read from files (an error names the line number), or taken from the names in the data."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldforge.errors import UserError

KEYS = {"prompt", "class", "image"}


@dataclass(frozen=True)
class Prompt:
    """The conditions of one line; None leaves a source null. `line` counts from 1."""

    line: int
    text: str | None = None
    class_name: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class PromptFile:
    """The usable lines in order, and a sentence for each unusable line."""

    prompts: tuple[Prompt, ...]
    complaints: tuple[str, ...]


def read_prompts(path: str | Path, key: str = "prompts") -> PromptFile:
    """Reads a prompts file: one text a line, or, as `.jsonl`, objects with `prompt`, `class` and `image`.

    Blank lines and, in text, lines that begin with # are passed over. Pictures are found beside the file.
    `key` of the configuration names the file.

    Raises:
        UserError: no such file, or not one usable line in it.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{key}={path} is a folder: give a text file with one prompt a line.")
    if not path.is_file():
        raise UserError(f"{key}={path}: there is no such file, give a text file with one prompt a line.")
    prompts, complaints = [], []
    as_objects = path.suffix in (".jsonl", ".json")
    for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if line and (as_objects or not line.startswith("#")):
                prompts.append(_from_object(number, line, path.parent) if as_objects else _from_text(number, line))
        except (ValueError, RecursionError) as error:
            complaints.append(f"{path.name}, line {number}: {_reason(error)}")
    if not prompts:
        reason = complaints[0] if complaints else "there is no prompt in it"
        raise UserError(f"{key}={path}: {reason}, give a text file with one prompt a line.")
    return PromptFile(tuple(prompts), tuple(complaints))


def frequent_names(metas: Sequence[Mapping], count: int) -> list[str]:
    """Names as prompts: the most frequent name of each class in turn, then the second most frequent, …

    Ties are broken by the alphabet; classes come in the order of their size.
    """
    by_class: dict[str, Counter] = {}
    for meta in metas:
        by_class.setdefault(meta["class"], Counter())[meta["name"].lower()] += 1
    ranking = {
        kind: [name for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0]))]
        for kind, names in sorted(by_class.items(), key=lambda item: (-item[1].total(), item[0]))
    }
    picks: list[str] = []
    depth = 0
    while len(picks) < count and depth < max(map(len, ranking.values())):
        picks += [names[depth] for names in ranking.values() if depth < len(names) and names[depth] not in picks]
        depth += 1
    return picks[:count]


def name_meant(prompt: str, names: Sequence[str]) -> str | None:
    """The longest name that the prompt contains as whole words, in any case; None if it contains none."""
    text = prompt.lower()
    matches = [name for name in names if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text)]
    return max(matches, key=lambda name: (len(name), name), default=None)


def _from_text(number: int, line: str) -> Prompt:
    if any(not letter.isprintable() and letter != "\t" for letter in line):
        raise ValueError("holds characters that cannot be printed")
    return Prompt(number, text=line)


def _from_object(number: int, line: str, folder: Path) -> Prompt:
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError('is not an object such as {"prompt": "a chair"}')
    if unknown := sorted(set(values) - KEYS):
        raise ValueError(f"has the unknown key {unknown[0]!r}, known are {', '.join(sorted(KEYS))}")
    if wrong := sorted(key for key, value in values.items() if not isinstance(value, str) or not value.strip()):
        raise ValueError(f"has no text in {wrong[0]!r}")
    if not values:
        raise ValueError("asks for nothing")
    text = None if "prompt" not in values else _from_text(number, values["prompt"].strip()).text
    image = None if "image" not in values else str(folder / values["image"])
    return Prompt(number, text, values.get("class"), image)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON ({error.msg} at column {error.colno})"
    return "is nested too deeply" if isinstance(error, RecursionError) else str(error)
