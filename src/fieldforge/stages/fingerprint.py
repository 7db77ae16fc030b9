"""Fingerprint of the values that determine a stage's result, and the differences of two such sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Keys that only say how to react to trouble, or where and how fast to read, in whatever block they stand.
REACTIONS = ("on_bad_shard", "patience", "retries", "cache", "num_workers", "prefetch_batches")


def fingerprint(determining: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of the plain values (nested dicts, lists, numbers, texts) that determine a result."""
    text = json.dumps(_without_reactions(determining), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """One text for each key that differs, `key: theirs → ours`, in alphabetical order."""
    mine, other = dict(_flat(_without_reactions(ours))), dict(_flat(_without_reactions(theirs)))
    absent = "(absent)"
    return [
        f"{key}: {other.get(key, absent)} → {mine.get(key, absent)}"
        for key in sorted(mine.keys() | other.keys())
        if mine.get(key, absent) != other.get(key, absent)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _without_reactions(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _without_reactions(value) for key, value in values.items() if key not in REACTIONS}
    return [_without_reactions(value) for value in values] if isinstance(values, list | tuple) else values
