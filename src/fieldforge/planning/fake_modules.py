"""Building networks whose tensors have shapes and no values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def without_values() -> Iterator[None]:
    """Inside, tensors and modules are made without memory for their values.

    Modules may be converted as usual (`Module.to`): PyTorch exchanges parameters in place there, which tensors without
    values do not bear, so here they are replaced.
    """
    usual = nn.Module._apply
    nn.Module._apply = _replacing  # type: ignore[assignment, method-assign]
    try:
        with FakeTensorMode():
            yield
    finally:
        nn.Module._apply = usual  # type: ignore[method-assign]


def _replacing(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    if recurse:
        for child in module.children():
            child._apply(change)
    with torch.no_grad():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(change(parameter), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = change(buffer)
    return module
