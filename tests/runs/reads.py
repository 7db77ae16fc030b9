"""Which values of a configuration a program looks at: those it takes by name, and all below a block that it builds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hydra.utils
import pytest
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

import fieldforge.runs.train


def leaves(config: DictConfig, path: str = "") -> Iterator[str]:
    """Dotted paths of all values: a list is one, as is an empty block."""
    for name in map(str, config):
        here = f"{path}.{name}" if path else name
        node = None if OmegaConf.is_missing(config, name) else config[name]
        if isinstance(node, DictConfig) and len(node):
            yield from leaves(node, here)
        else:
            yield here


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The dotted paths that are read inside; walks over the whole configuration, which check values, do not count."""
    seen: set[str] = set()
    take, select, instantiate = DictConfig._get_impl, BaseContainer._select_impl, hydra.utils.instantiate

    def taken(self: DictConfig, key: Any, default_value: Any, validate_key: bool = True) -> Any:
        value = take(self, key, default_value, validate_key)
        note(seen, self._get_full_key(key), value)
        return value

    def selected(self: BaseContainer, key: str, *args: Any, **kwargs: Any) -> Any:
        result = select(self, key, *args, **kwargs)
        note(seen, f"{self._get_full_key(None)}.{key}".lstrip("."), result[2])
        return result

    def built(node: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(node, DictConfig):
            key = node._get_full_key(None)
            unused = {f"{key}.parts.{name}" for name in set(node.get("parts", {})) - set(node.get("sources", []))}
            seen.update(path for path in leaves(node, key) if not path.startswith(tuple(unused)))
        return instantiate(node, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DictConfig, "_get_impl", taken)
        patch.setattr(BaseContainer, "_select_impl", selected)
        patch.setattr(hydra.utils, "instantiate", built)
        patch.setattr(fieldforge.runs.train, "check", lambda config: None)
        yield seen


def note(seen: set[str], path: str, value: Any) -> None:
    """A block that is taken is not read yet: what is taken of it will be."""
    if not isinstance(value, DictConfig) or not len(value):
        seen.add(path)
    if isinstance(value, ListConfig):
        seen.add(path)
