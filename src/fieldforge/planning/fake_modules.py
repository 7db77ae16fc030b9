"""Construction of networks with fake tensors, which have shapes and no values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fieldforge.nn.true_places import expected_share


@contextmanager
def without_values(real_weights: bool = False) -> Iterator[None]:
    """Inside this context tensors and modules are created without memory for their values.

    With `real_weights`, modules that have values compute too, and their results have none.

    Modules may be converted as usual (`Module.to`): PyTorch swaps parameters in place, which fake tensors do not
    support, so they are replaced here. A number read from a tensor (`float(loss)`) is 0; `nonzero` finds the
    share of a mask that is usual (`nn.true_places`).
    """
    usual = nn.Module._apply
    nn.Module._apply = _replacing  # type: ignore[assignment, method-assign]
    try:
        with FakeTensorMode(allow_non_fake_inputs=real_weights), _Values():
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


class _Values(TorchDispatchMode):
    """A mode that answers reads of values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.nonzero.default:
            mask = args[0]
            return mask.new_empty((math.ceil(mask.numel() * expected_share()), mask.ndim), dtype=torch.int64)
        if func is torch.ops.aten._local_scalar_dense.default:
            dtype = args[0].dtype
            return False if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0
        return func(*args, **(kwargs or {}))
