"""Signals keep their usual meaning between tests."""

import pytest

from fieldforge.training.processes import interruption


@pytest.fixture(autouse=True)
def _usual_signals():
    yield
    interruption.forget()
    interruption.uninstall()
