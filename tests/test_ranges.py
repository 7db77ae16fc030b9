"""Which numbers a setting takes, and how a sentence says it."""

import math

import pytest

from fieldforge.ranges import Range


@pytest.mark.parametrize(
    ("limits", "inside", "outside"),
    [
        (Range(0, 1), [0, 1, 0.5], [-1e-9, 1.1, math.nan, math.inf]),
        (Range(0, 1, open_below=True, open_above=True), [0.5], [0, 1]),
        (Range(least=0), [0, 1e300, 10**400], [-1, math.inf]),
        (Range(least=0, infinite=True), [math.inf], [math.nan, -math.inf]),
    ],
)
def test_a_range_holds_what_lies_within(limits: Range, inside: list, outside: list):
    assert all(limits.holds(value) for value in inside)
    assert not any(limits.holds(value) for value in outside)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Range(1, 8192), "from 1 to 8192"),
        (Range(0, 2**31 - 1), "of at least 0"),
        (Range(least=0, open_below=True), "above 0"),
        (Range(0, 1, open_above=True), "of at least 0 and below 1"),
        (Range(most=5), "of at most 5"),
        (Range(0, 2**62), "from 0 to 4611686018427387904"),
    ],
)
def test_a_sentence_says_the_range(limits: Range, text: str):
    assert str(limits) == text
