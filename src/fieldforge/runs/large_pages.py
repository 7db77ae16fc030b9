"""Large pages for large tensors on a CPU.

The C library gives blocks of more than 32 MiB back to the system when a tensor goes, and the system clears the pages of
the next one as they are touched, 4 KiB at a time: 0.4 s a GB, four times what writing takes. Pages of 2 MiB make that
0.15 s.
"""

from __future__ import annotations

import os

SETTINGS = {"THP_MEM_ALLOC_ENABLE": "1"}  # PyTorch reads it with its first tensor


def install() -> None:
    """Let PyTorch ask for large pages, unless the user says otherwise. Called before the first tensor."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
