"""Texts and classes to sample from: given, read from a file, or taken from the training data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fieldforge.errors import UserError


def read_prompts(path: str | Path) -> list[str]:
    """Texts of a file, one a line; empty lines and those that start with # are skipped.

    Raises:
        UserError: no such file, not text, or no prompt in it.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no prompts file {path}: give a text file with one prompt a line")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"prompts file {path} is not text in UTF-8: save it as such") from error
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise UserError(f"prompts file {path} is empty: write one prompt a line")
    return prompts


def frequent_names(metas: Sequence[Mapping], count: int) -> list[str]:
    """Names to prompt with, picked by rule: the most frequent name of each class in turn, then the next of each, …

    Ties are broken by the alphabet; classes come in the order of their size.
    """
    by_class: dict[str, Counter] = {}
    for meta in metas:
        by_class.setdefault(meta["class"], Counter())[meta["name"].lower()] += 1
    ranked = {
        kind: [name for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0]))]
        for kind, names in sorted(by_class.items(), key=lambda item: (-item[1].total(), item[0]))
    }
    chosen: list[str] = []
    depth = 0
    while len(chosen) < count and depth < max(map(len, ranked.values())):
        chosen += [names[depth] for names in ranked.values() if depth < len(names) and names[depth] not in chosen]
        depth += 1
    return chosen[:count]


def name_meant(prompt: str, names: Sequence[str]) -> str | None:
    """The longest of the names that stands in the prompt as whole words, whatever the case; None if there is none."""
    text = prompt.lower()
    found = [name for name in names if re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text)]
    return max(found, key=lambda name: (len(name), name), default=None)
