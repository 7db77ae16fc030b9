"""The search space of a key: a range or choices, in YAML or as a sweep on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from fieldforge.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_RANGE_KEYS = {"low", "high", "log", "step"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where low, high and step are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        return all(isinstance(value, int) for value in (self.low, self.high, 1 if self.step is None else self.step))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def values(self) -> list[Any] | None:
        """All of them; None where they cannot be counted."""
        step = self.step or (1 if self.whole else None)
        if step is None or self.log:
            return None
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        return [self.low + number * step for number in range(count)]


@dataclass(frozen=True)
class Choices:
    """Any of several values, each as it is written on the command line."""

    texts: tuple[str, ...]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.texts)

    def values(self) -> list[Any]:
        return list(self.texts)


Dimension = Range | Choices


def parse_space(space: Mapping[str, Any]) -> dict[str, Dimension]:
    """`{low, high, log, step}` → Range, a list → Choices.

    Raises:
        UserError: neither of these; names the key.
    """
    return {key: _dimension(key, value) for key, value in space.items()}


def _dimension(key: str, value: Any) -> Dimension:
    where = f"search.space: {key}"
    if isinstance(value, list):
        return _choices(where, [as_text(choice) for choice in value])
    if not isinstance(value, Mapping):
        raise UserError(f"{where} = {value!r} must be {{low: …, high: …}} or a list of choices: correct it")
    unknown = sorted(set(value) - _RANGE_KEYS)
    if unknown or not {"low", "high"} <= set(value):
        wrong = f"has no {unknown[0]}" if unknown else "needs low and high"
        raise UserError(f"{where} {wrong}: give low, high and, if wanted, log or step")
    return _range(where, **value)


def _range(where: str, low: Any, high: Any, log: Any = False, step: Any = None) -> Range:
    for value in (low, high, *(() if step is None else (step,))):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{where}: {value!r} must be a number, correct it")
    if not isinstance(log, bool):
        raise UserError(f"{where}: log = {log!r} must be true or false")
    if low >= high or (log and low <= 0) or (step is not None and step <= 0):
        raise UserError(f"{where}: low must be below high, above 0 with log, and step above 0; correct the range")
    if log and step is not None:
        raise UserError(f"{where}: log and step do not go together, leave one of them out")
    return Range(low, high, log, step)


def _choices(where: str, texts: list[str]) -> Choices:
    if not texts or len(set(texts)) < len(texts):
        raise UserError(f"{where} must list at least one choice and each only once: correct it")
    return Choices(tuple(texts))


def dimension_of(override: Override) -> Dimension:
    """A sweep on the command line: `a,b`, `range(1,5)`, `interval(0.1,1)`, `tag(log,interval(…))`.

    Raises:
        UserError: one of Hydra's sweeps that says no range.
    """
    key, sweep = override.get_key_element(), override.value()
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None
        assert sweep.end is not None
        return _range(key, sweep.start, sweep.end, log="log" in sweep.tags)
    if isinstance(sweep, ChoiceSweep | RangeSweep):
        return _choices(key, list(override.sweep_string_iterator()))
    raise UserError(
        f"{override.input_line}: this sweep is not known here, write {key}=a,b,c or {key}=interval(low,high)"
    )


def as_text(value: Any) -> str:
    """A plain value as Hydra's command line reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{as_text(key)}:{as_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(as_text, value)) + "]"
    text = str(value)
    reserved = ("true", "false", "null", "nan", "inf")
    if re.fullmatch(r"[A-Za-z_/][\w./-]*", text, re.ASCII) and text.lower() not in reserved:
        return text
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\" if match[2] else "") + match[2], text)
    return f"'{escaped}'"
