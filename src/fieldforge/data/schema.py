"""Schemas of shards: names, dtypes and shapes of their fields, shared by writers and readers.

`shape_schema.py` defines shapes, `image_schema.py` pictures, `clip_schema.py` clips; `schemas.py` lists all by name. A
sample in memory is a dict from *member suffix* (`"surface_points.npy"`, `"view_003.png"`, `"meta.json"`) to value:
numpy array for `.npy` and `.png`, JSON object for `.json`. Axis letters are bound once per sample.
`docs/data_format.md` describes the format.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import numpy as np

from fieldforge.data.codec import Payload, decode_member, encode_member
from fieldforge.data.meta import COMMON_META, MetaTypes, check_meta
from fieldforge.data.tar_members import split_members
from fieldforge.errors import UserError

Sample = dict[str, Any]

KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""Keys of samples: no dot (WebDataset splits a member's name there), no slash (members stay in their folder)."""


HALF, BITS, LARGEST_HALF = np.dtype(np.float16), np.dtype(np.uint16), 65504.0


def within(values: np.ndarray, limit: float | None = None) -> bool:
    """Whether all numbers (float16 or float32) are finite, and at most `limit` in size."""
    if values.dtype == HALF:
        # Without their signs they compare as their bits do, NaN and infinity last: a tenth of the time of isfinite.
        bits = np.ascontiguousarray(values).view(BITS) & 0x7FFF
        return bool(np.maximum.reduce(bits, None) <= _bits(LARGEST_HALF if limit is None else limit))
    if limit is not None:
        return bool(np.maximum.reduce(np.abs(values), None) <= limit)
    return bool(np.logical_and.reduce(np.isfinite(values), None))


@cache
def _bits(number: float) -> int:
    return int(np.float16(number).view(BITS))


@dataclass(frozen=True)
class FieldSpec:
    """One field: member suffix, dtype, shape (letters or numbers).

    `per_view`: `{}` in the suffix is the view's index. `optional`: a sample may lack it. `limit`: largest absolute
    value. `fault`: values → a further error, or None. `decode`: bytes → value, where the suffix does not define it.
    """

    suffix: str
    dtype: str = "object"
    shape: tuple[str | int, ...] = ()
    per_view: bool = False
    optional: bool = False
    limit: float | None = None
    fault: Callable[[np.ndarray], str | None] | None = None
    decode: Callable[[Payload], Any] | None = None
    _dtype: np.dtype = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_dtype", np.dtype(self.dtype))

    def check(self, suffix: str, value: Any, axes: dict[str, int], where: object) -> None:
        """Compares dtype, shape and finiteness, binding axis letters in `axes`; UserError names the member.

        Args:
            where: the sample; formatted only for an error, as readers check every member of every step.
        """
        fault = self._fault(value, axes)
        if fault:
            raise UserError(f"{where}: member {suffix} {fault}.")

    def _fault(self, value: Any, axes: dict[str, int]) -> str | None:
        if not isinstance(value, np.ndarray) or value.dtype != self._dtype:
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            return f"is {kind}, but the schema asks for {self.dtype}; write it as such"
        if not self._binds(value.shape, axes):
            shape = tuple(axis if isinstance(axis, int) else axes.get(axis, axis) for axis in self.shape)
            return f"has shape {value.shape}, but the schema asks for {shape}; fix its writer"
        if self._dtype.kind == "f" and not within(value, self.limit):
            beyond = "" if self.limit is None else f", or some beyond {self.limit:g}"
            return f"holds NaN or infinite values{beyond}; reject the asset when preparing it"
        fault = self.fault(value) if self.fault else None
        return fault and f"{fault}; reject the asset when preparing it"

    def _binds(self, sizes: tuple[int, ...], axes: dict[str, int]) -> bool:
        """Whether the axes may have these sizes; binds their letters to them."""
        if len(sizes) != len(self.shape):
            return False
        for axis, size in zip(self.shape, sizes, strict=True):
            known = axes.setdefault(axis, size) if isinstance(axis, str) else axis
            if size != known or size == 0:
                return False
        return True


@lru_cache(maxsize=4096)
def _name_of_any_view(suffix: str) -> str:
    return re.sub(r"\d{3,}", "{:03d}", suffix, count=1)


@dataclass(frozen=True)
class Schema:
    """Name, version and fields of a kind of shard. `version` rises when a reader of the old would misread the new.

    Args:
        meta: required keys of `meta.json`, and their types.
        meta_fault: a `meta.json` with these keys → a further error, or None.
        rows: the axis whose size is the number of `rows` that `meta.json` lists; "": it lists none.
        views: the key of `meta.json` whose list has an entry for each view (axis V); "": `cameras.npy` counts them.
        alike: axes whose sizes all samples of a folder share.
        kind: name of the schema that samples are read as, where it is another schema; "": its own.
        split: (bytes of a sample in its tar, its key) → bytes of its members. ValueError if they are damaged.
    """

    name: str
    version: int
    fields: tuple[FieldSpec, ...]
    meta: MetaTypes = field(default_factory=lambda: COMMON_META, compare=False)
    meta_fault: Callable[[Mapping[str, Any]], str | None] | None = None
    rows: str = ""
    views: str = ""
    alike: str = ""
    kind: str = ""
    split: Callable[[bytes, str], Mapping[str, Payload]] = split_members
    by_suffix: dict[str, FieldSpec] = field(init=False, repr=False, compare=False)  # of a sample as a whole
    by_view: dict[str, FieldSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind or self.name)
        object.__setattr__(self, "by_suffix", {spec.suffix: spec for spec in self.fields if not spec.per_view})
        object.__setattr__(self, "by_view", {spec.suffix: spec for spec in self.fields if spec.per_view})

    def spec(self, suffix: str) -> FieldSpec | None:
        """The field of a member; None for an unknown member."""
        return self.by_suffix.get(suffix) or self.by_view.get(_name_of_any_view(suffix))

    def check_member(
        self, suffix: str, value: Any, axes: dict[str, int], names: Collection[str], where: object
    ) -> None:
        """`check` of one member; the others of these `names` are checked when they are read."""
        spec = self.spec(suffix)
        if spec is None:
            return
        if suffix == "meta.json":
            self._check_meta(value, axes, where, captions=False)  # who reads captions asks for them
        else:
            spec.check(suffix, value, axes, where)
        if suffix == ("meta.json" if self.views else "cameras.npy"):
            self._check_views(axes["V"], names, where)

    def _check_views(self, count: int, names: Collection[str], where: object) -> None:
        members = (name.format(view) for view in range(count) for name in self.by_view)
        lacking = next((name for name in members if name not in names), None)
        if lacking:
            one, many = ("entry", f"entries of {self.views} in meta.json") if self.views else ("camera", "cameras")
            raise UserError(f"{where}: there are {count} {many}, but {lacking} is missing; write one per {one}.")

    def _check_meta(self, meta: Any, axes: dict[str, int], where: object, captions: bool = True) -> None:
        check_meta(meta, self.meta, where, captions)
        fault = self.meta_fault(meta) if self.meta_fault else None
        if fault:
            raise UserError(f"{where}: meta.json {fault}; fix its writer.")
        if self.rows:
            self._bind_rows(meta, axes, where)
        if self.views and axes.setdefault("V", len(meta[self.views])) != len(meta[self.views]):
            raise UserError(
                f"{where}: meta.json has {len(meta[self.views])} entries of {self.views}, and the sample {axes['V']} "
                "cameras; write one for each."
            )

    def _bind_rows(self, meta: Mapping[str, Any], axes: dict[str, int], where: object) -> None:
        """Checks the rows of stored features: the arrays have one row for each caption or view number."""
        rows = meta.get("rows")
        if (
            not isinstance(rows, list)
            or not rows
            or not (all(isinstance(row, str) for row in rows) or all(type(row) is int for row in rows))
        ):
            raise UserError(
                f"{where}: meta.json needs rows, the captions or the numbers of views; embed the data again."
            )
        if axes.setdefault(self.rows, len(rows)) != len(rows):
            raise UserError(
                f"{where}: meta.json has {len(rows)} rows, and the arrays {axes[self.rows]}; embed the data again."
            )

    def check(self, key: str, sample: Mapping[str, Any]) -> None:
        """UserError if a member is missing, unknown, or of another dtype or shape than the schema's."""
        where = f"sample '{key}' ({self.name} schema)"
        if not KEY_PATTERN.fullmatch(key):
            raise UserError(
                f"{where}: a key may hold only letters, digits, '_' and '-', at most 80; rename the sample."
            )
        axes: dict[str, int] = {}
        for suffix, spec in self.by_suffix.items():
            if suffix not in sample and spec.optional:
                continue
            if suffix not in sample:
                raise UserError(f"{where}: the member {suffix} is missing; write every field of the schema.")
            if suffix == "meta.json":
                self._check_meta(sample[suffix], axes, where)
            else:
                spec.check(suffix, sample[suffix], axes, where)
        expected = set(self.by_suffix)
        if self.by_view:
            self._check_views(axes["V"], sample, where)
        for spec in self.by_view.values():
            for view in range(axes["V"]):
                suffix = spec.suffix.format(view)
                spec.check(suffix, sample[suffix], axes, where)
                expected.add(suffix)
        unknown = sorted(set(sample) - expected)
        if unknown:
            raise UserError(f"{where}: the schema knows no member {unknown[0]}; drop it or put it into meta.json.")

    def encode(self, key: str, sample: Mapping[str, Any]) -> dict[str, bytes]:
        """Checks the sample, then gives the bytes of each member, in the one order in which shards hold them."""
        self.check(key, sample)
        return {suffix: encode_member(suffix, sample[suffix]) for suffix in sorted(sample)}

    def decode(self, members: Mapping[str, bytes]) -> Sample:
        """Decodes every member; the reverse of `encode`. (The stream decodes lazily instead.)"""
        return {suffix: decode_member(suffix, payload) for suffix, payload in members.items()}
