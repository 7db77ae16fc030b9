"""Intervals against scipy's bootstrap, and against what they promise."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from fieldforge.metrics.bootstrap import LEVEL, Figure, Resampling


def test_groups_of_one_are_the_plain_bootstrap():
    values = np.random.default_rng(0).gamma(2.0, size=40)
    own = Resampling.of(40, resamples=20_000).figure(values, np.arange(40))
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1, confidence_level=LEVEL)
    assert own.mean == pytest.approx(values.mean())
    assert own.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert own.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)


def test_samples_that_repeat_their_group_tell_no_more_than_one_of_them():
    values = np.random.default_rng(1).normal(size=25)
    alone = Resampling.of(25).figure(values, np.arange(25))
    tenfold = Resampling.of(25).figure(values.repeat(10), np.arange(25).repeat(10))
    assert (tenfold.low, tenfold.high) == pytest.approx((alone.low, alone.high))
    assert tenfold.samples == 250


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(2)
    groups, hits = np.arange(30).repeat(4), 0
    for number in range(300):
        values = (generator.normal(size=30)[groups] + generator.normal(size=120)) / 2  # half of it is the group's
        one = Resampling.of(30, seed=number, resamples=400).figure(values, groups)
        hits += one.low <= 0 <= one.high
    assert 0.90 <= hits / 300 <= 0.975


def test_a_difference_is_paired():
    generator = np.random.default_rng(3)
    values = 10 * generator.normal(size=20)
    others = values + 1 + 0.01 * generator.normal(size=20)
    difference = Resampling.of(20).difference(others, values, np.arange(20))
    assert difference.mean == pytest.approx(1, abs=0.01)
    assert difference.high - difference.low < 0.03  # each mean's own interval is 8 wide


def test_what_was_not_measured_is_left_out():
    groups, resampling = np.array([0, 0, 1]), Resampling.of(2)
    assert resampling.figure(np.array([1.0, np.nan, np.nan]), groups) == Figure(1, 1, 1, 1)
    empty = resampling.figure(np.full(3, np.nan), groups)
    assert (empty.samples, np.isnan(empty.mean)) == (0, True)
