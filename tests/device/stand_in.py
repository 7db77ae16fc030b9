"""A GPU without a GPU: torch's device `meta` stands in for it.

It has no values, so that reading one back raises, as `.item()`, `bool()` or `nonzero()` make a GPU wait. What is copied
to it from the host is counted, and so is what mixes tensors of both in one operation.
"""

from __future__ import annotations

import traceback
from contextlib import nullcontext

import pytest
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class HostTraffic(TorchDispatchMode):
    """Notes each copy from the host to the stand-in, with its line. A number of the host (no axes) is no copy."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []
        self.watches = False

    def __enter__(self):
        self.watches = True
        return super().__enter__()

    def __exit__(self, *error):
        self.watches = False
        return super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        there = [each for each in [*given, *tree_leaves(result)] if isinstance(each, Tensor) and each.device == META]
        host = [each for each in given if each.device.type == "cpu"]
        if there and host and (func in COPIES or any(each.dim() for each in host)):
            self.note(func._schema.name)
        return result

    def note(self, what: str) -> None:
        lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack() if "/src/" in frame.filename]
        self.copies.append(f"{what} {lines[-1] if lines else ''}")


@pytest.fixture
def traffic(monkeypatch) -> HostTraffic:
    """Enter it around what is watched. Tensors made there of Python's numbers count as copies, too."""

    class NoAutocast(nullcontext):  # which knows no such device
        def __init__(self, *arguments, **options):
            super().__init__()

    watch, usual = HostTraffic(), torch.tensor

    def tensor(data, *arguments, device=None, **options):
        if watch.watches and device is not None and torch.device(device) == META and not isinstance(data, int | float):
            watch.note("torch.tensor")
        return usual(data, *arguments, device=device, **options)

    monkeypatch.setattr(torch, "autocast", NoAutocast)
    monkeypatch.setattr(torch, "tensor", tensor)
    return watch


def placed(batch):
    """A batch on the stand-in, as Lightning copies it."""
    return move_data_to_device(batch, META)
