"""What a stranger may send: pickles and blocks of configuration that would make a file, if anything ran them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fieldforge.errors import UserError


class Payload:
    """Unpickled, it makes the file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def refused(mark: Path, act: Any) -> str:
    """The one sentence with which `act()` refuses; nothing has run."""
    with pytest.raises(UserError) as refusal:
        act()
    assert not mark.exists(), "the payload ran"
    assert "\n" not in str(refusal.value)
    return str(refusal.value)
