"""The keys of `meta.json` that all kinds of samples share."""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from operator import itemgetter
from typing import Any

from fieldforge.errors import UserError

MetaTypes = Mapping[str, type | tuple[type, ...]]

COMMON_META: MetaTypes = {
    "id": str,
    "name": str,
    "class": str,
    "captions": list,
    "captions_by_language": dict,
    "tags": list,
    "source": str,
    "licence": str,
    "creator": str,
    "split": str,
}
"""Keys of `meta.json` that samples of every kind have."""


def check_meta(meta: Any, types: MetaTypes, where: object, captions: bool = True) -> None:
    """Required keys, their types, and at least one caption if asked; further keys are free. UserError."""
    if not isinstance(meta, dict):
        raise UserError(f"{where}: meta.json is {type(meta).__name__}, but must be an object; fix its writer.")
    if not _has_types(meta, types):
        _check_types(meta, types, where)
    if captions and not meta["captions"]:
        raise UserError(f"{where}: meta.json needs at least one non-empty caption; give the asset a name or a caption.")
    offered = meta["captions"]
    for texts in meta["captions_by_language"].values():
        offered = [*offered, *(texts if isinstance(texts, list) else [texts])]
    for text in offered:
        if not isinstance(text, str) or not text or text.isspace():
            raise UserError(f"{where}: meta.json has a caption that is empty or no text; give the asset a caption.")


def _has_types(meta: Mapping[str, Any], types: MetaTypes) -> bool:
    """Whether all keys exist with exactly these types, in one pass: readers check every sample."""
    values, kinds = _values_and_kinds(tuple(types.items()))
    try:
        return tuple(map(type, values(meta))) in kinds
    except KeyError:
        return False


@cache
def _values_and_kinds(types: tuple[tuple[str, Any], ...]) -> tuple[Callable[[Any], Any], frozenset[tuple[type, ...]]]:
    kinds = [kind if isinstance(kind, tuple) else (kind,) for _, kind in types]
    return itemgetter(*(key for key, _ in types)), frozenset(product(*kinds))


def _check_types(meta: Mapping[str, Any], types: MetaTypes, where: object) -> None:
    """Types that derive from those asked for will do (numpy's floats, say), but truth values are no numbers."""
    for key, kind in types.items():
        if key not in meta:
            raise UserError(f"{where}: meta.json lacks the key '{key}'; add it when writing the sample.")
        if not isinstance(meta[key], kind) or meta[key] is True or meta[key] is False:
            raise UserError(f"{where}: meta.json has {key}={meta[key]!r}, which is of the wrong type; fix its writer.")
