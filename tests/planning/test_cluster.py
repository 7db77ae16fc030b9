"""The time of kernels and of messages, against sums on paper."""

import math

import numpy as np
import pytest
from tests.planning.hardware import cluster

from fieldforge.planning.collectives import BUCKET, Links
from fieldforge.planning.kernels import table


def test_each_kernel_waits_for_arithmetic_or_memory_and_all_for_the_host():
    matrix_product, copy = (5e13, 1e9), (0, 2e12)  # 1 s and 1 ms; 0 s and 2 s
    assert cluster().seconds(table(matrix_product, copy)) == pytest.approx(3)
    assert cluster(launch_seconds=0.1).seconds(table(*[(0.0, 1.0)] * 70)) == pytest.approx(7)


def test_a_processor_does_one_thing_after_the_other():
    kernels = table((5e13, 1e12), (0, 2e12))  # 1 s of arithmetic, 1 s and 2 s of memory
    assert cluster(kind="CPU", launch_seconds=0.5).seconds(kernels) == pytest.approx(1 + 1 + 2 + 2 * 0.5)
    assert cluster(launch_seconds=0.5).seconds(kernels) == pytest.approx(1 + 2)


def test_convolutions_reach_a_share_of_their_own():
    kernels = table((5e13, 0, 1, 1, 1, 0), (5e13, 0, 1, 1, 1, 1))  # a product and a convolution, 1 s each at a half
    machine = cluster(convolution_utilisation=0.25, tile=1, multiprocessors=1)
    assert machine.seconds(kernels) == pytest.approx(1 + 2)


def test_convolutions_in_float32_may_be_faster_than_the_products():
    kernels = table((1.25e9, 0, 1, 1, 1, 0), (1.25e9, 0, 1, 1, 1, 1))  # 1 s each at a half
    machine = cluster(convolution_utilisation=0.25, float32_convolution_utilisation=2, tile=1, multiprocessors=1)
    assert machine.seconds(kernels, float32=True) == pytest.approx(1 + 0.25)


def test_latents_are_encoded_at_the_speed_of_float32():
    assert cluster().seconds(table((1.25e9, 0)), float32=True) == pytest.approx(1)


def useful(rows: int, columns: int, depth: int, products: int = 1, **changes) -> float:
    kernel = (2 * products * rows * columns * depth, 0, products, rows, columns)
    return float(cluster(**{"tile": 128, "multiprocessors": 108, **changes}).useful(table(kernel))[0])


@pytest.mark.parametrize(
    ("shape", "share"),
    [
        ((9 * 128, 12 * 128, 64), 1),  # a wave of 108 tiles
        ((9 * 128, 13 * 128, 64), 117 / 216),  # nine tiles take a wave of their own
        ((9 * 128, 12 * 128 - 64, 64), 11.5 / 12),  # the last tile of each row is half empty
        ((64, 9 * 128, 64), 9 / 108),  # narrow tiles, for nine multiprocessors
        ((128, 9 * 128, 12 * 512), 1),  # their sums are split in twelve
        ((128, 9 * 128, 6 * 512), 6 * 9 / 108),  # in six: shorter ones are not split
    ],
)
def test_a_product_uses_whole_tiles_in_whole_waves(shape, share):
    assert useful(*shape) == pytest.approx(share)


def test_many_products_are_dealt_together():
    assert useful(128, 128, 64, products=108) == 1
    assert useful(128, 128, 64, products=54) == 0.5


def test_a_device_without_tiles_does_not_look_at_sizes():
    assert useful(3, 5, 7, tile=1, multiprocessors=1) == 1
    assert cluster(tile=128, multiprocessors=108).useful(table((0, 5))).tolist() == [1]


def test_a_product_of_few_rows_takes_longer_than_its_share_of_many():
    few, many = ((2 * rows * 1024 * 1024, 0, 1, rows, 1024) for rows in (1024, 16 * 1024))
    a100 = cluster(tile=128, multiprocessors=108, launch_seconds=0)
    assert a100.seconds(table(few)) * 16 > 1.5 * a100.seconds(table(many))


LINKS = Links(nodes=4, devices=8, bandwidth=1e9, latency=1e-3, node_bandwidth=1e10, node_latency=1e-4)
LATENCY = 28 * 1e-4 + 3 * 1e-3  # once round the ring: 28 of 31 messages within nodes


def test_a_ring_sends_all_but_a_share_twice():
    assert LINKS.turn(3.2e9) == pytest.approx(LATENCY + 3.1)
    assert LINKS.ring(3.2e9) == pytest.approx(2 * (LATENCY + 3.1))
    assert Links(1, 8, 1e9, 1, 1e10, 1e-4).turn(8e10) == pytest.approx(7 * 1e-4 + 7)  # without the links between nodes


def test_a_tree_has_the_logarithm_of_messages():
    assert LINKS.tree(1e9) == pytest.approx(2 * (7 * 1e-4 + 2 * 1e-3) + 2)
    assert LINKS.all_reduce(1) == LINKS.tree(1) < LINKS.ring(1)
    assert LINKS.all_reduce(1e12) == LINKS.ring(1e12) < LINKS.tree(1e12)


def test_gradients_are_reduced_in_buckets():
    assert LINKS.buckets(2.5 * BUCKET) == pytest.approx(2 * LINKS.all_reduce(BUCKET) + LINKS.all_reduce(BUCKET / 2))
    assert LINKS.buckets(BUCKET) == LINKS.all_reduce(BUCKET)


def test_one_device_sends_nothing():
    alone = Links(1, 1, 1, 1, 1, 1)
    assert (alone.turn(5), alone.ring(5), alone.tree(5), alone.buckets(5)) == (0, 0, 0, 0)


def test_latency_grows_with_ranks_in_a_ring_and_with_their_logarithm_in_a_tree():
    rings, trees = zip(
        *((links.ring(0), links.tree(0)) for links in (Links(n, 8, 1, 1, 1, 0) for n in (16, 128))), strict=True
    )
    assert rings == (2 * 15, 2 * 127)
    assert trees == (2 * 4, 2 * math.log2(128))
    assert np.argmin([rings[1], trees[1]]) == 1
