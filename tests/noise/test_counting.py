"""Random numbers without a state, against the published generator and the laws."""

import numpy as np
import scipy.stats
import torch

from fieldforge.noise import counting

MANY = torch.arange(200_000)


def test_the_words_are_those_of_splitmix64():
    words = [word % 2**64 for word in counting.bits(1234567, torch.arange(5)).tolist()]
    assert words == [  # of the reference implementation, Vigna's splitmix64.c, with this seed
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_every_bit_of_a_word_is_a_fair_coin():
    words = counting.bits(2**64 - 1, MANY).numpy().view(np.uint64)
    ones = np.array([((words >> np.uint64(bit)) & np.uint64(1)).sum() for bit in range(64)])
    deviations = (ones - len(words) / 2) / (len(words) ** 0.5 / 2)
    assert np.abs(deviations).max() < 4.5


def test_laws():
    first, second = counting.normal_pairs(3, MANY)
    for drawn, law in (
        (counting.uniform(1, MANY), "uniform"),
        (counting.uniform_double(2, MANY), "uniform"),
        (first, "norm"),
        (second, "norm"),
    ):
        assert scipy.stats.kstest(drawn.numpy(), law).pvalue > 1e-3
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([first[1:], first[:-1]]))[0, 1])) < 0.01


def test_ends_stay_finite_and_below_one(monkeypatch):
    ends = torch.tensor([0, -1])  # all bits 0, all bits 1
    monkeypatch.setattr(counting, "bits", lambda key, places: ends)
    assert counting.uniform(0, ends).tolist() == [0.0, 1 - 2.0**-24]
    assert counting.uniform_double(0, ends).tolist() == [0.0, 1 - 2.0**-53]
    assert all(pair.isfinite().all() for pair in counting.normal_pairs(0, ends))


def test_keys_have_different_numbers():
    drawn = {tuple(counting.bits(key, torch.arange(4)).tolist()) for key in (0, 1, 2**63, 2**64 - 1)}
    assert len(drawn) == 4
