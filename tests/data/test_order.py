"""The order: exact for any shards, mixing, ranks and batch sizes; local to slots; well mixed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldforge.data.order import EpochOrder, Mixing, Order, rank_positions
from fieldforge.errors import UserError

SHARDS = st.lists(st.integers(1, 12), min_size=1, max_size=12)
MIXINGS = st.builds(Mixing, st.integers(1, 40), st.integers(1, 6))


def places(order: Order, positions: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(*(part.tolist() for part in order.locate(positions)), strict=True))


def every_place(shards: list[int]) -> list[tuple[int, int]]:
    return [(shard, sample) for shard, count in enumerate(shards) for sample in range(count)]


@given(SHARDS, MIXINGS, st.integers(0, 2**31), st.integers(0, 5))
@settings(deadline=None)
def test_each_epoch_is_a_permutation(shards: list[int], mixing: Mixing, seed: int, epoch: int) -> None:
    order = Order(np.array(shards), mixing, seed)
    length = order.epoch_length
    result = places(order, np.arange(epoch * length, (epoch + 1) * length))
    assert sorted(result) == every_place(shards)


@given(SHARDS, MIXINGS, st.integers(0, 99), st.lists(st.integers(0, 400), min_size=1, max_size=30))
@settings(deadline=None)
def test_a_place_depends_on_its_position_alone(
    shards: list[int], mixing: Mixing, seed: int, positions: list[int]
) -> None:
    together = places(Order(np.array(shards), mixing, seed), np.array(positions))
    alone = [places(Order(np.array(shards), mixing, seed), np.array([position]))[0] for position in positions]
    assert together == alone


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_elastic_runs_see_each_sample_of_each_epoch_once(data: st.DataObject) -> None:
    """A run whose ranks and batch size change again and again, over two epochs and a bit."""
    shards = data.draw(SHARDS)
    order = Order(np.array(shards), data.draw(MIXINGS), data.draw(st.integers(0, 99)))
    seen: list[tuple[int, int]] = []
    position, end = 0, 2 * order.epoch_length
    while position < end:
        world_size = data.draw(st.integers(1, 5))
        batch_size = world_size * data.draw(st.integers(1, 5))
        for _ in range(data.draw(st.integers(1, 6))):
            shares = [rank_positions(position, batch_size, rank, world_size) for rank in range(world_size)]
            assert {len(share) for share in shares} == {batch_size // world_size}
            mine = np.sort(np.concatenate(shares))
            np.testing.assert_array_equal(mine, np.arange(position, position + batch_size))
            seen += places(order, mine)
            position += batch_size
    for epoch in range(2):
        assert sorted(seen[epoch * order.epoch_length : (epoch + 1) * order.epoch_length]) == every_place(shards)


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4, 8]), st.integers(1, 8))
@settings(deadline=None)
def test_a_rank_stays_with_the_slots_of_its_residue(start: int, world_size: int, per_rank: int) -> None:
    slots = 16
    for rank in range(world_size):
        positions = rank_positions(start, world_size * per_rank, rank, world_size)
        assert set(positions % slots % world_size) <= {rank}


def test_ranks_touch_their_share_of_the_shards() -> None:
    """With slots a multiple of the ranks, a shard is read by few ranks, not by all."""
    order = EpochOrder(np.full(640, 50), Mixing(slots=64, mix_shards=2), seed=0, epoch=0)
    readers: dict[int, set[int]] = {}
    for rank in range(16):
        for shard in set(order.locate(np.arange(rank, order.length, 16))[0].tolist()):
            readers.setdefault(shard, set()).add(rank)
    assert np.mean([len(ranks) for ranks in readers.values()]) < 1.5


def test_epochs_and_seeds_differ() -> None:
    orders = [EpochOrder(np.full(10, 10), Mixing(), seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    result = {tuple(order.locate(np.arange(100))[0].tolist()) for order in orders}
    assert len(result) == 4


def test_one_block_is_a_uniform_permutation() -> None:
    """Three samples in two shards: all six orders come equally often (chi-square, 5 degrees of freedom, p > 0.001)."""
    counts: dict[tuple, int] = {}
    for seed in range(1200):
        order = EpochOrder(np.array([2, 1]), Mixing(slots=64, mix_shards=8), seed, epoch=0)
        result = tuple(zip(*(part.tolist() for part in order.locate(np.arange(3))), strict=True))
        counts[result] = counts.get(result, 0) + 1
    assert len(counts) == 6
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 20.5


def test_neighbours_in_the_stream_come_from_different_shards() -> None:
    """Many shards, few mixed at a time: a batch still draws from as many shards as it has samples, nearly."""
    order = EpochOrder(np.full(1000, 100), Mixing(slots=64, mix_shards=4), seed=0, epoch=0)
    shards, _ = order.locate(np.arange(64))
    assert len(set(shards.tolist())) >= 56  # a uniform permutation: 62 on average


def test_batches_that_ranks_cannot_share_are_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size=10.*3 ranks.*12"):
        rank_positions(0, 10, 0, 3)


def test_empty_data_are_refused() -> None:
    with pytest.raises(UserError, match="no samples"):
        Order(np.array([], np.int32), Mixing(), 0)
