"""Tests that need a GPU: `make gpu-test`. Without one they are skipped, unless ACCELERATOR=cpu rehearses them."""

import os
from pathlib import Path

import pytest
import torch
from tests.runs.conftest import Place
from tests.runs.tiny import write_balls

ACCELERATOR = os.environ.get("ACCELERATOR", "gpu")
DEVICE = torch.device("cuda" if ACCELERATOR == "gpu" else "cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if ACCELERATOR == "gpu" and not torch.cuda.is_available():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="there is no GPU here"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "outputs").mkdir()
    return Place(write_balls(folder / "balls"), folder / "outputs")
