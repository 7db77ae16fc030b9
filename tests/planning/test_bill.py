"""What a training is charged for, against sums on paper."""

import pytest
from tests.planning.hardware import cluster, cost, encoding, stage

from fieldforge.planning.bill import Pauses, Sheet, checkpoint_seconds
from fieldforge.planning.estimate import DataSide, Plan
from fieldforge.planning.kernels import table
from fieldforge.planning.report import text
from fieldforge.planning.step_time import step_time

LINKS = {"bandwidth": 1e9, "node_bandwidth": 1e9}


def bill(steps: int, hardware=None, **pauses) -> dict[str, tuple[int, float]]:
    """Name → times and seconds each, of steps of 0.02 s."""
    charges = Pauses(**pauses).charges(cost(), hardware or cluster(), steps, 0.02)
    return {one.name: (one.times, pytest.approx(one.each)) for one in charges}


def test_steps_alone_are_charged_where_nothing_interrupts_them():
    assert bill(100) == {"steps": (100, 0.02)}


def test_a_validation_is_charged_each_time():
    # Two and a half batches of 0.02 s, and a second for weights that are put aside, in place and back.
    assert bill(1000, validate_every=300, heldout_batches=2.5) == {"steps": (1000, 0.02), "validation": (3, 1.05)}
    assert bill(1000, validate_every=300, heldout_batches=0) == {"steps": (1000, 0.02)}


def test_pictures_and_checkpoints_come_by_the_clock_and_at_the_end():
    hardware = cluster(picture_seconds=0.5, checkpoint_bandwidth=16)
    found = bill(1000, hardware, sheet=Sheet(table((1e14, 0)), 4), picture_seconds=9, checkpoint_seconds=6)
    assert found["pictures"] == (3, 2 + 4 * 0.5)  # after 9 and 18 of 20 s
    assert found["checkpoints"] == (4, 10)  # 160 bytes
    further = bill(1000, hardware, checkpoint_seconds=6, checkpoint_steps=100)
    assert further["checkpoints"] == (14, 10)
    assert checkpoint_seconds(cost(), cluster(checkpoint_bandwidth=16, tensor_seconds=0.5)) == 10 + 4 * 0.5


def test_ranks_write_their_shares_of_a_checkpoint_at_once_as_fast_as_the_store_takes_them():
    ranks = {"strategy": "fsdp", "checkpoint_bandwidth": 10}
    assert checkpoint_seconds(cost(), cluster(**ranks)) == pytest.approx(160 / 8 / 10)
    assert checkpoint_seconds(cost(), cluster(**ranks, store_bandwidth=40)) == pytest.approx(160 / 40)


def test_minutes_of_a_budget_are_those_of_the_whole_bill():
    # A step takes 0.02 s, and every tenth a validation 1.18 s more: 0.138 s on the average.
    pauses = Pauses(validate_every=10, heldout_batches=9)
    limited = stage(pauses=pauses, max_steps=1000, max_minutes=69 / 60)
    assert limited.steps(cluster()) == 500
    assert limited.seconds(cluster()) == pytest.approx(69)
    assert stage(pauses=pauses, max_steps=1000, max_minutes=69 / 60, min_steps=800).steps(cluster()) == 800
    assert stage(pauses=pauses, max_steps=1000, max_minutes=1000).steps(cluster()) == 1000


def test_a_step_waits_for_the_store_where_it_reads_faster_than_that():
    data = DataSide(64, 1000, 64, 2, sample_bytes=1e6)
    fast, slow = cluster(store_bandwidth=1.6e9), cluster(store_bandwidth=1e8)
    assert stage(data=data).step_seconds(fast) == pytest.approx(0.02)
    assert stage(data=data).step_seconds(slow) == pytest.approx(0.16)
    assert "800 MB/s of 1.6 GB/s: the store is faster than the steps" in text(Plan("a", fast, (stage(data=data),)))
    sheet = text(Plan("a", slow, (stage(data=data),)))
    assert "800 MB/s of 100 MB/s: the steps, 20 ms each without it, wait for the store" in sheet
    assert "by plan.store_bandwidth=1e+08 the store sets the pace" in sheet


def test_gradients_are_exchanged_beside_the_backward_pass_but_for_the_last_bucket():
    # Eight ranks at 1e9 bytes a second: 2 · 7/8 ns a byte. The backward pass takes 0.01 s.
    small = step_time(cost(gradients=4e6), cluster(links=LINKS), 1, 0)
    assert small.exchange == small.exposed == pytest.approx(7e-3)  # one bucket, at the end of the pass
    large = step_time(cost(gradients=2e9), cluster(links=LINKS), 1, 0)
    assert large.exchange == pytest.approx(3.5)
    assert large.exposed == pytest.approx(3.5 - 0.01)
    assert large.seconds == pytest.approx(0.02 + 3.49)
    several = step_time(cost(gradients=2e9), cluster(links=LINKS), 5, 0)
    assert several.seconds == pytest.approx(0.1 + 3.49)  # once a step


def test_one_device_exchanges_nothing():
    for strategy in ("ddp", "fsdp"):
        alone = step_time(cost(gradients=2e9), cluster(1, 1, LINKS, strategy=strategy), 1, 0)
        assert (alone.exchange, alone.exposed) == (0, 0)


def test_shards_gather_each_block_twice_and_reduce_its_gradients():
    model = cost(block=4e6, blocks=6, outside_blocks=8e6)
    hardware = cluster(links=LINKS, strategy="fsdp", precision="32-true")
    found = step_time(model, hardware, 1, 0)
    assert found.exchange == pytest.approx(3 * (6 * 4e6 + 8e6) * 7 / 8 / 1e9)
    assert found.exposed == pytest.approx(max(found.exchange - 0.02, 2 * 8e6 * 7 / 8 / 1e9))
    half = step_time(model, cluster(links=LINKS, strategy="fsdp"), 1, 0)
    assert half.exchange == pytest.approx((2 * 6 * 4e6 + 3 * 8e6) * 7 / 8 / 1e9)  # blocks travel in bfloat16
    assert step_time(model, hardware, 3, 0).exchange == pytest.approx(3 * found.exchange)


def test_encoding_counts_operations_reading_and_writing():
    # 800 samples on eight devices: 100 each of 1e9 operations at 1.25e9 a second.
    assert encoding().seconds(cluster()) == pytest.approx(80)
    assert encoding(read=1e3).seconds(cluster(store_bandwidth=1e3)) == pytest.approx(800)  # reading is slower
    assert encoding(written=10).seconds(cluster(checkpoint_bandwidth=100)) == pytest.approx(80 + 100 * 10 / 100)
    assert encoding(written=10).seconds(cluster(store_bandwidth=100)) == pytest.approx(80 + 800 * 10 / 100)
    assert encoding(samples=None).seconds(cluster()) is None


def test_samples_are_dealt_in_parts():
    assert encoding(part=256).own(8) == 256  # four parts: half of the devices have nothing to do
    assert encoding(part=256, samples=2100).own(8) == 512
    assert encoding(part=256, samples=100).own(8) == 100


def test_statistics_are_a_part_of_the_bill():
    charged = stage(max_steps=100, statistics=encoding(name="statistics"))
    assert [(one.name, one.times) for one in charged.charges(cluster())] == [("steps", 100), ("statistics", 1)]
    assert charged.seconds(cluster()) == pytest.approx(2 + 80)
