"""A dataclass out of the top of a configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.ranges import Count, Share


@dataclass(frozen=True)
class Inner:
    share: Share
    class_: str


@dataclass(frozen=True)
class Derived(Inner):
    more: int = 0


@dataclass(frozen=True)
class Outer:
    count: Count
    from_: str | None
    names: str | Sequence[str]
    inner: Inner
    further: Mapping[str, Any]
    block: DictConfig | None


VALUES: dict[str, Any] = {
    "count": 3,
    "from": "here",
    "names": ["a", "b"],
    "inner": {"_target_": f"{__name__}.Inner", "share": 0.5, "class": "chair"},
    "further": {"x": 1},
    "block": {"_target_": "never.built"},
    "unread": "left alone",
}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The classes of this file under its own name, however it was imported."""
    import sys

    module = type(sys)(__name__)
    module.__dict__.update(Inner=Inner, Derived=Derived)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, module))


def test_values_and_blocks():
    outer = read_settings(OmegaConf.create(VALUES), Outer)
    assert (outer.count, outer.from_, outer.names) == (3, "here", ["a", "b"])
    assert outer.inner == Inner(0.5, "chair")
    assert outer.further == {"x": 1}
    assert outer.block == {"_target_": "never.built"}


def test_a_key_that_is_not_there_is_none():
    values = {key: value for key, value in VALUES.items() if key != "block"}
    assert read_settings(OmegaConf.create(values), Outer).block is None


def test_keys_of_a_block_are_named_with_it():
    config = OmegaConf.create({"here": {"it": {"share": 0.5, "class": "chair", "unread": 1}}})
    assert read_settings(config, Inner, "here.it") == Inner(0.5, "chair")
    config.here.it.share = 2
    with pytest.raises(UserError, match=r"config key here\.it\.share = 2"):
        read_settings(config, Inner, "here.it")


def test_a_value_that_is_still_missing_is_asked_for():
    with pytest.raises(UserError, match="the config key count has no value: give it on the command line, count=…"):
        read_settings(OmegaConf.create({**VALUES, "count": "???"}), Outer)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("count", 0, "config key count = 0 must be a whole number"),
        ("count", None, "config key count = None"),
        ("from", 3, "config key from = 3 must be a text or null"),
        ("names", {"a": 1}, "config key names"),
        ("names", [["a"]], "config key names"),
        ("inner", None, "config key inner = None must be a block"),
        ("inner.share", 2, "config key inner.share = 2 is not a number from 0 to 1"),
        ("inner.class", 2, "config key inner.class = 2 is not a text"),
        ("inner.clas", "x", "unknown config key inner.clas"),
        ("further", 3, "config key further = 3 must be a block of keys"),
        ("block", 3, "config key block = 3"),
    ],
)
def test_mistakes_name_the_key(key, value, sentence):
    config = OmegaConf.create(VALUES)
    OmegaConf.update(config, key, value, merge=False)
    with pytest.raises(UserError, match=sentence):
        read_settings(config, Outer)


def test_what_a_class_inherits_is_checked():
    config = OmegaConf.create({**VALUES, "inner": {**VALUES["inner"], "_target_": f"{__name__}.Derived", "share": 2}})
    with pytest.raises(UserError, match=r"inner\.share = 2"):
        read_settings(config, Outer)
