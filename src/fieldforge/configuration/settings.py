"""The settings of a command: a dataclass out of the plain keys at the top of its configuration."""

from __future__ import annotations

import keyword
import typing
from dataclasses import fields
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf

from fieldforge.configuration.build import build
from fieldforge.configuration.values import check_finite, check_key
from fieldforge.errors import UserError

Kind = TypeVar("Kind")


def settings(config: DictConfig, kind: type[Kind]) -> Kind:
    """The dataclass `kind` with the value of each of its fields out of the key of that name.

    A field whose key is a word of Python's has an underscore behind: `class_`. A block with a `_target_` is built. Keys
    that are no fields are left alone.

    Raises:
        UserError: a value of another type, or beyond its range; names the key.
    """
    check_finite(config)
    hints = typing.get_type_hints(kind, include_extras=True)
    names = {field.name: key_of(field.name) for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: _value(config, key, hints[name]) for name, key in names.items()})


def key_of(name: str) -> str:
    """The key that a field is typed as."""
    bare = name.removesuffix("_")
    return bare if keyword.iskeyword(bare) else name


def _value(config: DictConfig, key: str, hint: Any) -> Any:
    value = OmegaConf.select(config, key)
    if isinstance(value, DictConfig) and "_target_" in value:
        return build(config, key)
    if getattr(hint, "__dataclass_fields__", None) is not None:
        raise UserError(f"config key {key} = {value!r} must be a block of settings: give its values, {key}.<name>=…")
    check_key(config, key, hint)
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
