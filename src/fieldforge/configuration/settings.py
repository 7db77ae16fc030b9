"""Reads the settings of a command into a dataclass, from the top keys of its configuration or from a block."""

from __future__ import annotations

import inspect
import typing
from dataclasses import fields
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from fieldforge.configuration.build import build, key_of
from fieldforge.configuration.values import check_finite, check_key
from fieldforge.errors import UserError

Kind = TypeVar("Kind")


def read_settings(config: DictConfig, kind: type[Kind], block: str = "") -> Kind:
    """An instance of the dataclass `kind`; each field takes the value of the key with its name (see `key_of`).

    An absent key, such as that of a group without a choice, gives None. A block with a `_target_` is built, unless the
    field's type includes `DictConfig`. Keys without a field are ignored.

    Args:
        config: the whole configuration, so that interpolations resolve.
        kind: the dataclass.
        block: dotted path of the block with the keys; empty: the top of the configuration.

    Raises:
        UserError: a missing value, or one of another type or out of range; names the key.
    """
    check_plain_fields(config, kind, block)
    return kind(**{name: _value(config, _path(block, name), hint) for name, hint in _hints(kind).items()})


def check_plain_fields(config: DictConfig, kind: type, block: str = "") -> None:
    """Check the plain fields, those whose type is no block, without building a block or importing its class.

    Arguments are those of `read_settings`.

    Raises:
        UserError: a missing value, or one of another type or out of range; names the key.
    """
    check_finite(config)
    for name, hint in _hints(kind).items():
        if not _is_block(hint):
            _value(config, _path(block, name), hint)


def _path(block: str, field: str) -> str:
    """Dotted path of a field's key."""
    return f"{block}.{key_of(field)}" if block else key_of(field)


def _hints(kind: type) -> dict[str, Any]:
    """Annotations of the fields, in their order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _is_block(hint: Any) -> bool:
    """Whether a field's type is a class outside of builtins, so that its value is a block."""
    return inspect.isclass(hint) and hint.__module__ != "builtins"


def _value(config: DictConfig, key: str, hint: Any) -> Any:
    try:
        value = OmegaConf.select(config, key, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"the config key {key} has no value: give it on the command line, {key}=…") from error
    if isinstance(value, DictConfig) and DictConfig in (hint, *typing.get_args(hint)):
        return value
    if _is_block(hint):
        if isinstance(value, DictConfig) and "_target_" in value:
            return build(config, key)
        raise UserError(f"config key {key} = {value!r} must be a block of settings: give its values, {key}.<name>=…")
    check_key(config, key, hint)
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
