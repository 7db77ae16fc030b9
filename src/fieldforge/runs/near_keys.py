"""Which keys of a configuration somebody may have meant by one that is not there."""

import difflib
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

MOST = 3  # keys in a sentence


def near_keys(block: Any, key: str) -> list[str]:
    """Paths below `block`: those that end in the key (lr → optimizer.lr), else the one beside it spelled most alike."""
    if not isinstance(block, DictConfig):
        return []
    deeper = [path for path in _paths(OmegaConf.to_container(block, resolve=False)) if path.endswith(f".{key}")]
    return deeper[:MOST] or difflib.get_close_matches(key, map(str, block), n=1)


def _paths(values: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from _paths(value, f"{prefix}{key}.")
