"""A cluster for all tests of this folder, and trainings on it. `make cluster-test` runs them, `make test` does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import slurm
from tests.runs.tiny import write_balls


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    return write_balls(tmp_path_factory.mktemp("balls"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[slurm.Slurm]:
    with slurm.running(tmp_path_factory.mktemp("slurm")) as running:
        yield running
    assert not running.processes()
