"""Checks values of a configuration against annotations: their type and their range."""

from __future__ import annotations

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from fieldforge.errors import UserError
from fieldforge.ranges import Range

PLAIN = (str, int, float, bool, type(None))


def check_value(key: str, value: Any, hint: Any) -> None:
    """UserError, which names the key, if a value contradicts the type or the range of the annotation `hint`."""
    if not _fits(value, hint):
        raise UserError(f"config key {key} = {value!r} is not {_wanted(hint)}: correct it")


def check_key(config: DictConfig, key: str, hint: Any) -> Any:
    """The value at the dotted path `key`. UserError, which names the key, if it contradicts the annotation `hint`."""
    value = OmegaConf.select(config, key)
    if not _fits(value, hint):
        raise UserError(f"config key {key} = {value!r} must be {_wanted(hint)}: correct it")
    return value


def check_keys(config: DictConfig, wanted: Mapping[str, Any]) -> None:
    """`check_key` for several keys, dotted path → annotation; absent keys and missing values are skipped."""
    for key, hint in wanted.items():
        block, _, name = key.rpartition(".")
        node = OmegaConf.select(config, block) if block else config
        if isinstance(node, DictConfig) and name in node and not OmegaConf.is_missing(node, name):
            check_key(config, key, hint)


def check_name(key: str, name: Any) -> None:
    """UserError, which names the key, unless `name` is a relative path of folders below `output_dir`."""
    check_value(key, name, str)
    parts = name.split("/")
    if any(part.strip() in ("", ".", "..") or part != part.strip() for part in parts) or "\0" in name:
        raise UserError(
            f"{key}={name} must be the name of a folder below output_dir: give letters, digits and dashes, such as "
            f"{key}=my_chairs, and another place with output_dir="
        )


def check_finite(node: Any, path: str = "") -> None:
    """UserError, which names the key, for the first NaN below `node`; `path`: dotted path of the node."""
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=False)  # a walk is no reading: see tests/runs/reads.py
    if isinstance(node, dict):
        for key, value in node.items():
            check_finite(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            check_finite(value, f"{path}[{place}]")
    elif isinstance(node, float) and math.isnan(node):
        raise UserError(f"config key {path} = nan is no number: correct it")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may fit an annotation: False only for a certain contradiction of both."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        if not isinstance(value, float):
            return _fits(value, inner[0]) and (not isinstance(value, int) or _holds(value, inner[1:]))
        return inner[0] is float and _holds(value, inner[1:])
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if isinstance(value, DictConfig):
        plain = hint in (int, float, bool, str, None, type(None)) or origin in (list, tuple, collections.abc.Sequence)
        return "_target_" in value or not plain
    if origin in (dict, collections.abc.Mapping):
        return not isinstance(value, (*PLAIN, ListConfig))
    if origin is typing.Literal:
        return value in inner
    if hint in (None, type(None)):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is str:
        return isinstance(value, str)
    if origin in (list, tuple, collections.abc.Sequence):
        if not isinstance(value, ListConfig):
            return False
        each = [one for one in inner if one is not Ellipsis]
        if origin is tuple and Ellipsis not in inner:
            return len(value) == len(each) and all(_fits(v, one) for v, one in zip(value, each, strict=True))
        return all(_fits(item, each[0]) for item in value) if each else True
    if inspect.isclass(hint) and origin is None and hint not in (object, Path) and isinstance(value, PLAIN):
        return not getattr(hint, "_is_protocol", False) and isinstance(value, hint)
    return True


def _holds(value: float, metadata: Iterable[Any]) -> bool:
    return all(one.holds(value) for one in metadata if isinstance(one, Range))


def _wanted(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return " ".join([_wanted(inner[0]), *(str(one) for one in inner[1:] if isinstance(one, Range))])
    if origin in (typing.Union, types.UnionType):
        written = [one for one in inner if one in names or typing.get_origin(one)]  # a file cannot hold the others
        return " or ".join(_wanted(one) for one in written or inner)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (list, tuple, collections.abc.Sequence):
        each = [_wanted(one) for one in inner if one is not Ellipsis]
        if origin is tuple and Ellipsis not in inner and len(set(each)) == 1:
            return f"a list of {len(each)} (each {each[0]})"
        return (
            f"a list (each {each[0]})" if len(set(each)) == 1 else f"a list ({', '.join(each)})" if each else "a list"
        )
    if origin in (dict, collections.abc.Mapping) or (isinstance(hint, type) and hint not in names):
        return "a block of keys"
    return names.get(hint) or str(hint)
