"""The label of a published model: its run's label without local paths and hardware."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError
from fieldforge.stages.fingerprint import fingerprint

LEFT_OUT = (
    *("output_dir", "autoencoder_run", "init_from", "continue_from", "teacher"),
    *("trainer", "logger", "callbacks", "plan", "search", "monitor"),
)
"""Keys of a configuration that say where a training ran and what it showed, and that no command reads of its model."""
DATA, PLACES = ("data", "latent_data"), ("root", "cache")
"""Blocks of a configuration, and the keys in them, at any depth, that say where data lie."""


def public_label(label: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """The label of a published model, with its own fingerprints: rounded weights differ from the run's.

    Args:
        label: of a finished diffusion run.
        precision: of the weights in the file.

    Raises:
        UserError: the result still names a path on this machine.
    """
    own = published_label(label, precision)
    own["autoencoder"] = published_label(label["autoencoder"], precision)
    for key, text in texts({key: value for key, value in own.items() if not key.endswith("_state_dict")}):
        if is_local(text):
            raise UserError(f"format=card: {key}={text} is a place on this machine: train with what others have too")
    return own


def published_label(label: Mapping[str, Any], precision: str) -> dict[str, Any]:
    source = str(label["fingerprint"])
    own = fingerprint({"published": source, "precision": precision})
    return {**label, "fingerprint": own, "published_from": source, "config": without_places(label["config"])}


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration without the keys of local paths and hardware."""
    rest = {key: value for key, value in config.items() if key not in LEFT_OUT}
    return rest | {key: without(rest[key], PLACES) for key in DATA if key in rest}


def without(value: Any, keys: Collection[str]) -> Any:
    """Plain values without these keys, at any depth."""
    if isinstance(value, Mapping):
        return {key: without(item, keys) for key, item in value.items() if key not in keys}
    return [without(item, keys) for item in value] if isinstance(value, list | tuple) else value


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and text of every text in plain values."""
    if isinstance(value, str):
        yield path, value
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, f"{path}.{key}".lstrip("."))
    if isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from texts(item, f"{path}[{number}]")


def is_local(text: str) -> bool:
    """Whether a text is a path from the root or from somebody's home."""
    return Path(text).is_absolute() or text.startswith("~") or str(Path.home()) in text
