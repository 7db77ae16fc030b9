"""What may be searched, as YAML and as text of the command line."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from fieldforge.errors import UserError
from fieldforge.sweeps.space import Choices, Range, as_text, dimension_of, parse_space


def test_yaml():
    space = parse_space(
        {"a": {"low": 1e-4, "high": 1e-2, "log": True}, "b": {"low": 1, "high": 4}, "c": [True, "x y", 2]}
    )
    assert space["a"] == Range(1e-4, 1e-2, log=True)
    assert space["b"].values() == [1, 2, 3, 4]
    assert space["c"] == Choices(("true", "'x y'", "2"))
    assert Range(0.0, 1.0, step=0.25).values() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert Range(0.0, 1.0).values() is None


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"low": 1, "high": 1}, "low must be below high"),
        ({"low": 0, "high": 1, "log": True}, "above 0 with log"),
        ({"low": 1}, "needs low and high"),
        ({"low": 1, "hihg": 2}, "has no hihg"),
        ({"low": "1", "high": 2}, "must be a number"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "do not go together"),
        (3, "must be {low"),
        ([], "at least one choice"),
        ([1, 1], "only once"),
    ],
)
def test_mistakes_name_the_key(entry, words):
    with pytest.raises(UserError, match=r"^search\.space: a\.b") as error:
        parse_space({"a.b": entry})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@example("A¹")
@example("back\\")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
def test_text_is_read_by_hydra_as_it_was(value):
    assert OverridesParser.create().parse_override(f"key={as_text(value)}").value() == value


def test_sweeps_of_the_command_line():
    def parsed(text: str):
        return dimension_of(OverridesParser.create().parse_override(text))

    assert parsed("a=1,b,1e-3") == Choices(("1", "b", "0.001"))
    assert parsed("a=range(1,4)") == Choices(("1", "2", "3"))
    assert parsed("a=interval(0.1,2)") == Range(0.1, 2.0)
    assert parsed("a=tag(log,interval(0.1,2))") == Range(0.1, 2.0, log=True)
    with pytest.raises(UserError, match="write a="):
        parsed("a=glob(*)")
