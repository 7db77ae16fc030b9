"""The processes agree about once a second, all at the same steps."""

from itertools import pairwise

import pytest

from fieldforge.training.processes import ranks, rhythm
from fieldforge.training.processes.rhythm import LONGEST, Rhythm


def agreements(monkeypatch, seconds_a_step, steps: int, world: int = 2) -> list[int]:
    clock = [0.0]
    monkeypatch.setattr(ranks, "world", lambda: world)
    monkeypatch.setattr(ranks, "of_first", lambda value: value)
    monkeypatch.setattr(rhythm.time, "monotonic", lambda: clock[0])
    own, met = Rhythm(), []
    for step in range(1, steps + 1):
        clock[0] += seconds_a_step(step)
        if own.due(step):
            met.append(step)
    return met


@pytest.mark.parametrize(("seconds", "gap"), [(2.0, 1), (1.0, 1), (0.25, 4), (0.001, LONGEST)])
def test_it_is_about_once_a_second(monkeypatch, seconds, gap):
    met = agreements(monkeypatch, lambda _: seconds, 200)
    assert met[0] == 1
    assert {later - earlier for earlier, later in pairwise(met)} == {gap}


def test_steps_that_become_slow_are_noticed(monkeypatch):
    met = agreements(monkeypatch, lambda step: 0.001 if step < 100 else 10.0, 200)
    assert set(range(140, 201)) <= set(met)


def test_one_process_agrees_with_itself_in_every_step(monkeypatch):
    assert agreements(monkeypatch, lambda _: 0.001, 50, world=1) == list(range(1, 51))


def test_all_decide_by_the_clock_of_the_first(monkeypatch):
    """Clocks differ, steps of agreement do not."""
    of_first = [1.0, 0.5, 0.5, 0.125] + [0.125] * 96
    met = []
    for _process in range(2):
        values = iter(of_first)
        monkeypatch.setattr(ranks, "world", lambda: 2)
        monkeypatch.setattr(ranks, "of_first", lambda _, values=values: next(values))
        own = Rhythm()
        met.append([step for step in range(1, 60) if own.due(step)])
    assert met[0] == met[1]
