"""Every combination of what the command line lists, once."""

import pytest

from fieldforge.errors import UserError
from fieldforge.sweeps.product import Product
from fieldforge.sweeps.records import FAILED, FINISHED, Record, record_path
from fieldforge.sweeps.space import Choices, Range

SPACE = {"a": Choices(("1", "2")), "b": Choices(("x", "y"))}


def test_combinations_come_in_order_and_in_batches(tmp_path):
    product = Product(tmp_path, SPACE)
    first, rest = product.next(3), product.next(3)
    assert [dict(trial.values) for trial in first + rest] == [
        {"a": "1", "b": "x"},
        {"a": "1", "b": "y"},
        {"a": "2", "b": "x"},
        {"a": "2", "b": "y"},
    ]
    assert product.next(3) == []
    assert len(product.trials()) == 4


def test_finished_ones_are_left_out_and_failed_ones_come_again(tmp_path):
    record_path(tmp_path, 0).parent.mkdir(parents=True, exist_ok=True)
    Record(FINISHED, 0.5).write(record_path(tmp_path, 0))
    Record(FAILED, note="no room").write(record_path(tmp_path, 2))
    assert [trial.number for trial in Product(tmp_path, SPACE).next(9)] == [1, 2, 3]
    assert not record_path(tmp_path, 2).exists()


def test_an_interval_has_no_combinations(tmp_path):
    with pytest.raises(UserError, match="b has an interval"):
        Product(tmp_path, {"a": Choices(("1",)), "b": Range(0.0, 1.0)})
