"""Suggests keys of a configuration for an unknown key."""

import difflib
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

MOST = 3  # suggestions in a sentence


def near_keys(block: Any, key: str) -> list[str]:
    """At most `MOST` dotted paths below `block` that end in the key (lr → optimizer.lr), else the most similar path.

    The comparison reads dots as `_`: view_size → views.size. The list is empty without a similar path.
    """
    if not isinstance(block, DictConfig):
        return []
    paths = list(_paths(OmegaConf.to_container(block, resolve=False)))
    deeper = [path for path in paths if path.endswith(f".{key}")]
    if deeper:
        return deeper[:MOST]
    flat = {path.replace(".", "_"): path for path in reversed(paths)}  # the first of equal paths wins
    return [flat[near] for near in difflib.get_close_matches(key, flat, n=1)]


def _paths(values: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _paths(value, f"{prefix}{key}.")
