from pathlib import Path

import pytest


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that only a payload makes."""
    return tmp_path / "mark"
