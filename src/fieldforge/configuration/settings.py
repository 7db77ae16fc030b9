"""The settings of a command: a dataclass out of the plain keys at the top of its configuration, or of a block."""

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
    """The dataclass `kind`, each of whose fields has the value of the key that is called like it (see `key_of`).

    A group of which nothing is chosen leaves no key, and that is None.

    A block with a `_target_` is built, unless the field wants the block itself. Keys that are no fields are left alone.

    Args:
        config: the whole configuration, so that interpolations resolve.
        kind: the dataclass.
        block: dotted path of the block whose keys are read; empty: those at the top.

    Raises:
        UserError: no value, one of another type, or beyond its range; names the key.
    """
    check_plain_fields(config, kind, block)
    return kind(**{name: _value(config, _path(block, name), hint) for name, hint in _hints(kind).items()})


def check_plain_fields(config: DictConfig, kind: type, block: str = "") -> None:
    """UserError for a value of another type, or beyond its range, among the fields that are no blocks.

    It builds nothing, and imports no classes of blocks.
    """
    check_finite(config)
    for name, hint in _hints(kind).items():
        if not _is_block(hint):
            _value(config, _path(block, name), hint)


def _path(block: str, field: str) -> str:
    """Of the key that a field stands for."""
    return f"{block}.{key_of(field)}" if block else key_of(field)


def _hints(kind: type) -> dict[str, Any]:
    """Annotations of the fields, in their order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _is_block(hint: Any) -> bool:
    """Whether an object that a block describes is wanted."""
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
