"""The budget in steps and minutes, and the learning rate that follows it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldforge.errors import UserError
from fieldforge.training.callbacks.budget import Budget


def test_rate_is_the_warm_up_times_the_half_cosine():
    budget = Budget(max_steps=1000, warmup_steps=9, final_rate=0.1)
    assert budget.rate(0, 0.0) == pytest.approx(0.1)  # first of ten steps up
    assert budget.rate(500, 0.0) == pytest.approx(0.1 + 0.9 * 0.5)
    assert budget.rate(1000, 0.0) == pytest.approx(0.1)
    assert budget.rate(250, 0.0) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_whichever_limit_is_further_counts():
    budget = Budget(max_steps=1000, max_minutes=10)
    assert budget.progress(100, 60.0) == pytest.approx(0.1)
    assert budget.progress(100, 300.0) == pytest.approx(0.5)
    assert budget.progress(900, 300.0) == pytest.approx(0.9)
    assert budget.progress(10, 601.0) == 1.0


def test_minutes_wait_for_the_least_steps():
    budget = Budget(max_steps=1000, max_minutes=10, min_steps=400)
    assert budget.progress(0, 1e9) == 0.0
    assert budget.progress(100, 1e9) == pytest.approx(0.25)  # so does the learning rate
    assert budget.progress(400, 601.0) == 1.0
    assert budget.progress(400, 300.0) == pytest.approx(0.5)  # on a fast machine the minutes end it
    assert Budget(max_steps=20, max_minutes=10, min_steps=400).progress(20, 0.0) == 1.0


def test_a_training_within_two_warm_ups_is_short():
    budget = Budget(max_steps=1000, warmup_steps=100)
    assert [budget.short(steps) for steps in (0, 199, 200)] == [True, True, False]


def test_time_does_not_count_without_a_limit_in_minutes():
    budget = Budget(max_steps=1000)
    assert budget.progress(10, 1e9) == pytest.approx(0.01)


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.floats(0, 1e6))
def test_progress_and_rate_stay_in_their_bounds(steps, step, seconds):
    budget = Budget(max_steps=steps, max_minutes=60, warmup_steps=5)
    assert 0 <= budget.progress(step, seconds) <= 1
    assert 0 < budget.rate(step, seconds) <= 1


def test_time_left_follows_the_pace():
    budget = Budget(max_steps=100)
    assert budget.seconds_left(0, 0.0) is None
    assert budget.seconds_left(25, 10.0) == pytest.approx(30.0)


@pytest.mark.parametrize(
    "wrong", [{"max_steps": 0}, {"max_steps": 1, "max_minutes": 0}, {"max_steps": 1, "final_rate": 2}]
)
def test_impossible_budgets_are_refused(wrong):
    with pytest.raises(UserError, match=r"budget\."):
        Budget(**wrong)
