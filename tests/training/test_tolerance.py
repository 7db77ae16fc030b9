"""A log that cannot be written is said once, and no other error is swallowed."""

import logging
from pathlib import Path

import pytest

from fieldforge.training.callbacks.tolerance import Tolerance


def test_it_warns_once_until_the_block_has_worked_again(caplog):
    tolerance = Tolerance(Path("metrics.csv"))

    def fail() -> None:
        with tolerance:
            raise OSError(28, "No space left on device")

    with caplog.at_level(logging.WARNING):
        fail()
        fail()
        with tolerance:
            pass
        fail()
    ours = [record for record in caplog.records if record.name.startswith("fieldforge")]
    assert len(ours) == 2
    assert "metrics.csv cannot be written (No space left on device): training goes on" in caplog.text


def test_other_errors_go_through():
    with pytest.raises(ValueError, match="broken"), Tolerance(Path("x")):
        raise ValueError("broken")
