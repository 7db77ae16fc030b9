"""Weights, label and configuration of a finished run, read from a file of unknown origin.

The values are plain. Reading interpolates nothing and contacts no address in them: only the user names remote places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fieldforge.conditioning.reach import local_encoders
from fieldforge.configuration.growth import bounded
from fieldforge.data.shards import folder_and_names, spelled_out
from fieldforge.errors import UserError
from fieldforge.storage.store import names_elsewhere
from fieldforge.training.processes.checkpoints import load_safely

DEEPEST = 50  # nested levels of a configuration
ROOM = 4
"""Most bytes of parameters per byte of a model's file: the file stores shared weights once, and may round weights."""


class Labelled:
    """A kind of stage, as the labels of checkpoints describe it.

    kind: its name in a label. noun: its name with an article, for messages. label_types: dotted key → type of further
    required entries of a label, besides fingerprint and configuration. inside: the key of its label in the label of a
    model that contains a model of this kind; the weights are at `<inside>_state_dict`. Empty: no model contains one.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    label_types: ClassVar[Mapping[str, type]] = {}
    inside: ClassVar[str] = ""


def load_run(path: Path, kind: type[Labelled], device: Any = "cpu") -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Weights and label of the model of this kind in the file `path`, or inside the model there.

    The label's configurations hold plain values only: dicts, lists, texts, numbers, true, false and null.

    Raises:
        UserError: a missing or damaged file, another stage, or an incomplete label; names the file.
    """
    content = load_safely(path, device)
    if holds(content["fieldforge"], kind):
        content = _inner(content["fieldforge"], kind)
    label = content["fieldforge"]
    if label.get("stage") != kind.kind:
        raise UserError(f"{path} is of stage {label.get('stage')!r}, not {kind.noun}: give the directory of one")
    wanted = {"fingerprint": str, "config": dict, **kind.label_types}
    for key, expected in wanted.items():
        held: Any = label
        for name in key.split("."):
            held = held.get(name) if isinstance(held, Mapping) else None
        if not isinstance(held, expected):
            raise UserError(f"{path}: its label is damaged, {key} is {_kind(held)}: use another copy of that file")
        if key.endswith("config"):
            check_plain(held, f"{path}: its label's {key}")
    weights = content.get("state_dict")
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path} is damaged, its weights are {_kind(weights)}: use another copy of that file")
    return weights, label


def holds(label: Mapping[str, Any], kind: type[Labelled]) -> bool:
    """Whether a model with this label contains a model of this kind."""
    parts = (label.get(kind.inside), label.get(f"{kind.inside}_state_dict")) if kind.inside else ()
    return bool(parts) and all(isinstance(part, dict) for part in parts)


def _inner(label: Mapping[str, Any], kind: type[Labelled]) -> dict[str, Any]:
    """The inner model of this kind, in the layout of a separate checkpoint."""
    return {
        "fieldforge": {"stage": kind.kind, **label[kind.inside]},
        "state_dict": label[f"{kind.inside}_state_dict"],
    }


def check_plain(value: Any, where: str, depth: int = DEEPEST) -> None:
    """UserError, which names `where`, unless `value` is plain: at most `depth` levels of dicts, lists and scalars."""
    if depth == 0:
        raise UserError(f"{where} is nested too deeply to be one that train.py wrote: use another copy of that file")
    if isinstance(value, dict):
        if not all(isinstance(key, str | int | float | bool) for key in value):
            raise UserError(f"{where} has keys that are no texts: use another copy of that file")
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            check_plain(item, where, depth - 1)
    elif not isinstance(value, str | int | float | bool | type(None)):
        raise UserError(f"{where} holds {_kind(value)}, and only plain values may be there: use another copy")


def plain_config(values: Mapping[str, Any]) -> DictConfig:
    """A configuration of these values in which `${…}` is literal text, no interpolation."""
    config = OmegaConf.create(literal(dict(values)))
    assert isinstance(config, DictConfig)
    return config


def literal(value: Any) -> Any:
    """The value with `${` escaped for OmegaConf in all texts."""
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [literal(item) for item in value]
    return re.sub(r"(\\*)\$\{", lambda held: held[1] * 2 + r"\${", value) if isinstance(value, str) else value


@contextmanager
def of_run(path: Path) -> Iterator[None]:
    """Context for building the parts of the run in the file `path`: encoders load from this machine alone.

    Raises:
        UserError: a model much larger than the file, or any other failure of the building; names the file.
    """
    try:
        with local_encoders(), bounded(ROOM * path.stat().st_size):
            yield
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path}: {error}") from error
    except Exception as error:  # parts from a damaged configuration fail with any exception
        cause = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: its configuration is damaged or of another version ({type(error).__name__}: {cause}): "
            "train it again with this version, or use another copy of that file"
        ) from error


def data_root(place: str | Sequence[str] | None, stored: Mapping[str, Any], path: Path) -> Any:
    """The shards for measurements of the run in the file `path`: `place`, or else those of its training.

    Args:
        place: the command's `data_root`; None: the run's own.
        stored: configuration of the run, of whose places only folders of this machine are used.
        path: of the checkpoint, for messages.

    Raises:
        UserError: no `place`, and the run names no shards, or shards outside of existing folders of this machine.
    """
    if place is not None:
        return place
    if _root(stored) is None:
        raise UserError(f"{path} does not say which shards it was trained on: give data_root=")
    if not is_local(stored):
        raise UserError(
            f"{path}: the shards that it was trained on, {str(_root(stored))[:200]!r}, are no folder of this machine, "
            "and a place elsewhere is asked only if you name it: give data_root="
        )
    return _root(stored)


@contextmanager
def naming_data_root(place: str | Sequence[str] | None) -> Iterator[None]:
    """Inside this context a UserError about `data.root`, the key of trainings, names the command's `data_root`."""
    try:
        yield
    except UserError as error:
        if place is None or "data.root" not in str(error):
            raise
        raise UserError(f"data_root={place}: {error}".replace("data.root", "data_root")) from error


def is_local(stored: Mapping[str, Any]) -> bool:
    """Whether all places of `data.root` in a stored configuration are existing folders of this machine."""
    root = _root(stored)
    places = root if isinstance(root, list) else [root]
    return bool(places) and all(isinstance(place, str) and _is_local(place) for place in places)


def _root(stored: Mapping[str, Any]) -> Any:
    data = stored.get("data")
    return data.get("root") if isinstance(data, Mapping) else None


def _is_local(place: str) -> bool:
    if "$" in place or "::" in place:
        return False
    return all(_is_folder(folder_and_names(spelled)[0]) for spelled in spelled_out(place)) if place else False


def _is_folder(folder: str) -> bool:
    return not names_elsewhere(folder) and Path(folder).is_dir()


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
