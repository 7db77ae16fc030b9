"""Which keys of a configuration somebody may have meant by one that is not there."""

import difflib
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

MOST = 3  # keys in a sentence


def near_keys(block: Any, key: str) -> list[str]:
    """Paths below `block`: those that end in the key (lr → optimizer.lr), else the one that is spelled most alike.

    A `_` may stand for a dot: view_size → views.size.
    """
    if not isinstance(block, DictConfig):
        return []
    paths = list(_paths(OmegaConf.to_container(block, resolve=False)))
    deeper = [path for path in paths if path.endswith(f".{key}")]
    if deeper:
        return deeper[:MOST]
    flat = {path.replace(".", "_"): path for path in reversed(paths)}  # of two alike, the first
    return [flat[near] for near in difflib.get_close_matches(key, flat, n=1)]


def _paths(values: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _paths(value, f"{prefix}{key}.")
