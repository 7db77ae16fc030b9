"""Builds objects from a configuration with Hydra's `instantiate`; checks before that name mistakes by their key."""

from __future__ import annotations

import functools
import inspect
import keyword
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from fieldforge.configuration.trust import is_trusted
from fieldforge.configuration.values import check_finite, check_value
from fieldforge.errors import UserError

# A configuration stored in a checkpoint may name classes of these places, and these functions. None of them writes
# files, is an entry point, or itself builds from a configuration.
SAFE_PLACES = (
    *(f"fieldforge.{room}." for room in ("autoencoder", "conditioning", "diffusion", "domains", "fields", "nn")),
    *(f"fieldforge.data.{module}." for module in ("cache", "datamodule", "order", "transforms")),
    *(f"fieldforge.data.{kind}_transforms." for kind in ("clip", "image", "shape")),
    "fieldforge.noise.",
)
SAFE_FUNCTIONS = (
    "fieldforge.conditioning.conditioner.compose",
    "fieldforge.conditioning.efficientnet.efficientnet_lite0",
    "fieldforge.rendering.mesh_views.Light",
)
_HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def build(config: DictConfig, key: str, *, trusted: bool = True, **arguments: Any) -> Any:
    """The object that the block at `key` of `config` describes; with `_partial_` a partial call instead.

    Args:
        config: the whole configuration, so that interpolations resolve.
        key: dotted path of a node with `_target_`.
        trusted: False for a configuration stored in a checkpoint: its `_target_`s must be parts of models and data
            (`SAFE_PLACES`), its values plain.
        arguments: arguments from the program; they override the configuration's.

    Raises:
        UserError: unknown key, missing value, value of a wrong type, unknown or forbidden target; names the key.
    """
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise UserError(f"config key {key} must be a block with a _target_: choose one of the files in configs/{key}")
    _check(node, key, trusted, set(arguments))
    node = _without(node, arguments)
    _rename_keywords(node)
    try:
        # `arguments` bypass Hydra: it would merge dicts into the configuration and build the blocks in them.
        factory = hydra.utils.instantiate(node, _convert_="all", _partial_=True)
    except InstantiationException as error:
        cause = error.__cause__
        match = re.search(r"full_key: (\S+)", str(error))
        where = match[1] if match else key
        if isinstance(cause, UserError):
            raise _with_key(cause, where) from error
        raise UserError(f"config key {where}: {reason_of(cause or error)}") from error
    if node.get("_partial_", False):
        return functools.partial(factory, **arguments)
    return call(factory, key, **arguments)


REFUSALS = (ValueError, TypeError, AssertionError, ArithmeticError, LookupError, RuntimeError, MemoryError)
"""Exceptions of constructors for unsuitable values, and of networks for inconsistent or too large sizes."""


def call(factory: functools.partial, key: str, *args: Any, **arguments: Any) -> Any:
    """Call the factory of the block at `key`. UserError if it refuses; names the value at fault if it is known."""
    try:
        return factory(*args, **arguments)
    except UserError as error:
        raise _with_key(error, key) from error
    except REFUSALS as error:
        culprit = next((name for name, without in _without_one(factory) if _succeeds(without, args, arguments)), None)
        blames = [culprit] if culprit else _mentioned(factory, reason_of(error))
        where = " and ".join(f"{key}.{name}" for name in blames) or key
        raise UserError(f"config key {where}: {reason_of(error)}") from error


def _with_key(error: UserError, key: str) -> UserError:
    """The error itself if it names a key, else the same sentence with the block's key in front."""
    if re.search(r"[a-z_]+(\.[a-z_]+)+\b|[a-z_]+ ?=", str(error)):
        return error
    return UserError(f"config key {key}: {error}")


def _without_one(factory: functools.partial) -> Iterator[tuple[str, functools.partial]]:
    """Name, same call with the default of that name; for each plain value of the call and of calls in its arguments."""
    function, keywords = _flat(factory)
    for name, value in keywords.items():
        rest = {other: kept for other, kept in keywords.items() if other != name}
        if isinstance(value, int | float | str | list | tuple):
            yield name, functools.partial(function, **rest)
        if isinstance(value, functools.partial):
            for inner, without in _without_one(value):
                yield f"{name}.{inner}", functools.partial(function, **rest, **{name: without})


def _mentioned(factory: functools.partial, reason: str) -> Iterator[str]:
    """Names of values that an error mentions (`heads 3`), of the call and of calls in its arguments."""
    for name, value in _flat(factory)[1].items():
        if isinstance(value, functools.partial):
            yield from (f"{name}.{inner}" for inner in _mentioned(value, reason))
        elif re.search(rf"\b{re.escape(name)}\b\W+{re.escape(str(value))}\b", reason):
            yield name


def _flat(factory: functools.partial) -> tuple[Any, dict[str, Any]]:
    """Function and keywords of a call, with those of a nested partial (Hydra nests its own)."""
    if isinstance(factory.func, functools.partial):
        function, inner = _flat(factory.func)
        return function, {**inner, **factory.keywords}
    return factory.func, dict(factory.keywords)


def _succeeds(factory: functools.partial, args: tuple, arguments: Mapping[str, Any]) -> bool:
    try:
        factory(*args, **arguments)
    except Exception:
        return False
    return True


def reason_of(error: BaseException) -> str:
    """A library's message in one line; a general one for an error without message, such as a bare assertion."""
    return _line(error) or f"these values do not go together ({type(error).__name__})"


def _without(node: DictConfig, names: Iterable[str]) -> DictConfig:
    """A copy without these keys: the program replaces their values, so these are not checked and must not be built."""
    rest = node.copy()
    with open_dict(rest):
        for name in names:
            rest.pop(name, None)
    return rest


def parameter_of(key: str) -> str:
    """Parameter name of a config key: a Python keyword gets a trailing underscore, `class` → `class_`."""
    return f"{key}_" if keyword.iskeyword(key) else key


def key_of(parameter: str) -> str:
    """Config key of a parameter name, the inverse of `parameter_of`."""
    bare = parameter.removesuffix("_")
    return bare if keyword.iskeyword(bare) else parameter


def _rename_keywords(node: DictConfig) -> None:
    """Rename keys that are Python keywords to their parameter names, in place, in all calls below `node`."""
    for key in list(map(str, node)):
        absent = OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key)
        if not absent and isinstance(node[key], DictConfig):
            _rename_keywords(node[key])
        if "_target_" in node and keyword.iskeyword(key):
            with open_dict(node):
                node[parameter_of(key)] = node.pop(key)


def check(config: DictConfig) -> None:
    """Check all blocks of a configuration at once, so that no mistake shows up only after hours of training.

    `build` checks missing values, as the program may give them.

    Raises:
        UserError: unknown key, value of a wrong type or unknown target (names the key); a sampler that cannot sample
            the model that loss, process and parameterization define.
    """
    check_finite(config)
    for name in map(str, config):
        if not OmegaConf.is_missing(config, name):
            _check(config[name], name, trusted=True, reserved=None)
    if all(name in config for name in ("sampler", "loss", "process", "parameterization")):
        process, parameterization = build(config, "process"), build(config, "parameterization")
        build(config, "sampler").rehearse(build(config, "loss").model, process, parameterization)


def _check(node: Any, path: str, trusted: bool, reserved: set[str] | None) -> None:
    """Check all blocks below `node` without building any.

    `reserved`: names of the program's arguments; None: unknown, so any may be missing.
    """
    if isinstance(node, ListConfig):
        for index in range(len(node)):
            _check_plain(node, index, f"{path}[{index}]", trusted)
            if not OmegaConf.is_missing(node, index):
                _check(node[index], f"{path}[{index}]", trusted, None if reserved is None else set())
        return
    if not isinstance(node, DictConfig):
        return
    for name in map(str, node):
        _check_plain(node, name, f"{path}.{name}", trusted)
    if "_target_" in node:
        _check_call(node, path, trusted, reserved)
    for name in map(str, node):
        if name not in (reserved or ()) and not OmegaConf.is_missing(node, name):
            _check(node[name], f"{path}.{name}", trusted, None if reserved is None else set())


def _check_plain(node: DictConfig | ListConfig, key: str | int, path: str, trusted: bool) -> None:
    """UserError for an interpolation in a stored configuration: a foreign one could read the environment."""
    if not trusted and OmegaConf.is_interpolation(node, key):
        raise UserError(f"{path} refers to another value: a stored configuration holds plain values only")


def _check_call(node: DictConfig, path: str, trusted: bool, reserved: set[str] | None) -> None:
    """UserError for an impossible call: by its target, or by names or values of its arguments."""
    called = _target(str(node["_target_"]), path, trusted)
    try:
        parameters = inspect.signature(called).parameters
        hints = _hints(called)
    except (ValueError, TypeError, NameError):
        return  # a built-in, or annotations that cannot be resolved: the call itself reports mistakes
    for name in map(str, node):
        if name not in _HYDRA_KEYS and name not in (reserved or ()):
            _check_argument(node, name, path, _name(called), parameters, hints, may_lack=reserved is None)
    if reserved is not None and not node.get("_partial_", False) and "_args_" not in node:
        _check_whole(node, path, _name(called), parameters, reserved)


def _target(target: str, path: str, trusted: bool) -> Any:
    """The class or function of a `_target_`. UserError if it is unknown, or forbidden in a stored configuration."""
    foreign = UserError(
        f"{path}._target_ = {target} is no part of a model or of its data: a stored configuration may not name it "
        "(of a plug-in that you know, sample.py and evaluate.py may: trust=<its package>)"
    )
    if not trusted and not target.startswith("fieldforge.") and not is_trusted(target):
        raise foreign  # before the import of its module
    try:
        called = hydra.utils.get_object(target)
    except Exception as error:
        raise UserError(f"{path}._target_ = {target}: there is no such class or function, correct the path") from error
    home = f"{getattr(called, '__module__', '')}.{getattr(called, '__qualname__', '')}"
    safe = home in SAFE_FUNCTIONS or (inspect.isclass(called) and (home.startswith(SAFE_PLACES) or is_trusted(home)))
    if not trusted and not safe:
        raise foreign  # also for a name that a module of ours imports from elsewhere
    return called


def _check_argument(
    node: DictConfig,
    key: str,
    path: str,
    called: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    may_lack: bool,
) -> None:
    """UserError for a key that is no parameter, a missing value (unless `may_lack`), or a value of a wrong type."""
    if parameter_of(key) not in parameters:
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        names = ", ".join(parameter for parameter in parameters if parameter != "self")
        raise UserError(f"unknown config key {path}.{key}: {called} takes {names}")
    if OmegaConf.is_missing(node, key):
        if may_lack:
            return
        raise UserError(f"the config key {path}.{key} has no value: give it on the command line, {path}.{key}=…")
    if parameter_of(key) in hints:
        label = f"{path}.{key}"
        if OmegaConf.is_interpolation(node, key):
            label += f" ({OmegaConf.to_container(node, resolve=False)[key]})"  # type: ignore[index,call-overload]
        check_value(label, node[key], hints[parameter_of(key)])


def _check_whole(
    node: DictConfig, path: str, called: str, parameters: Mapping[str, inspect.Parameter], reserved: set[str]
) -> None:
    """UserError for a required parameter without an argument."""
    for name, parameter in parameters.items():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and key_of(name) not in node and name not in reserved:
            raise UserError(f"config key {path}.{key_of(name)} is missing: {called} needs it")


def _hints(called: Any) -> dict[str, Any]:
    """Annotations of the parameters; those of a dataclass are resolved in the module that defines the field."""
    described = called.__init__ if inspect.isclass(called) and not is_dataclass(called) else called
    return typing.get_type_hints(described, include_extras=True)


def _name(called: Any) -> str:
    return getattr(called.func if isinstance(called, functools.partial) else called, "__name__", str(called))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[0].split()).rstrip(".")
