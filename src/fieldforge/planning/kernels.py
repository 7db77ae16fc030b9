"""Operations, memory traffic and shapes of each kernel of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from fieldforge.planning.fused_attention import cpu_formulas

COLUMNS = ("operations", "bytes", "products", "rows", "columns", "convolution")
"""Of a table of kernels; the last four are zeros for a kernel without matrix product; `convolution` is 0 or 1."""
OVERWRITING = (torch.ops.aten.copy_, torch.ops.aten.fill_, torch.ops.aten.zero_)
"""Operations that do not read the tensor that they change."""
SECTOR = 32  # bytes that a number moves which is read or added to by itself: a part of a cache's line
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
Shape = tuple[int, int, int]
"""Of the result of a batch of matrix products: products, rows, columns."""


class Kernels(TorchDispatchMode):
    """Records a row of `COLUMNS` for each kernel inside the mode.

    Operations count for matrix products, convolutions and attention. Bytes count all input and output tensors; sums at
    scattered places move a `SECTOR` for each number. Views and reserved memory are no kernels; an operation that a
    backend splits into several kernels counts once, but the backward pass of a convolution counts as its two products.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[float, ...]] = []
        own = {packet: shape_wrapper(formula) for packet, formula in cpu_formulas().items()}
        self._formulas: dict[Any, Any] = {**flop_registry, **own}

    @property
    def rows(self) -> np.ndarray:
        """(K, 6) kernels in the order in which they start."""
        return np.array(self._rows, np.float64).reshape(-1, len(COLUMNS))

    def __len__(self) -> int:
        return len(self._rows)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_inference_mode_enabled() and func.namespace == "aten" and func.overloadpacket not in self._formulas:
            with self:  # there operations of several kernels arrive as one
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        result = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        changed = _changed(func, args, kwargs or {}) if result is None and func._schema.is_mutable else result
        outputs = [leaf for leaf in tree_leaves(changed) if isinstance(leaf, Tensor)]
        if outputs and not _moves_nothing(func, inputs, outputs):
            formula = self._formulas.get(func.overloadpacket)
            operations = 0 if formula is None else formula(*args, **(kwargs or {}), out_val=result)
            read = inputs[1:] if func.overloadpacket in OVERWRITING else inputs
            moved = sum(leaf.numel() * leaf.element_size() for leaf in read + outputs)
            moved += SECTOR * _scattered(func, args)
            shapes = shapes_of(func, args, outputs) or [(0, 0, 0)]
            convolves = func.overloadpacket in CONVOLUTIONS
            self._rows += [(operations / len(shapes), moved / len(shapes), *shape, convolves) for shape in shapes]
        return result


def table(*kernels: tuple[float, ...]) -> np.ndarray:
    """(K, 6) a table of kernels from rows that may lack the shape of a product."""
    return np.array([(*kernel, 0, 0, 0, 0)[: len(COLUMNS)] for kernel in kernels], np.float64).reshape(-1, len(COLUMNS))


def shapes_of(func: Any, args: Sequence[Any], outputs: Sequence[Tensor]) -> list[Shape]:
    """The matrix products of an operation; none where it has none, or is not known."""
    known = _SHAPES.get(func.overloadpacket)
    return known(args, outputs) if known else []


def _product(args: Sequence[Any], outputs: Sequence[Tensor]) -> list[Shape]:
    *batches, rows, columns = outputs[0].shape
    return [(math.prod(batches), rows, columns)]


def _convolution(args: Sequence[Any], outputs: Sequence[Tensor]) -> list[Shape]:
    count, channels, *places = outputs[0].shape
    groups = args[8]
    return [(groups, count * math.prod(places), channels // groups)]


def _convolution_backward(args: Sequence[Any], outputs: Sequence[Tensor]) -> list[Shape]:
    _, inputs, weights = args[:3]
    groups, (wants_input, wants_weights, _) = args[9], args[10]
    count, channels, *places = inputs.shape
    own, *taps = weights.shape
    of_input = [(groups, count * math.prod(places), channels // groups)] if wants_input else []
    return of_input + ([(groups, own // groups, math.prod(taps))] if wants_weights else [])


def _attention(args: Sequence[Any], outputs: Sequence[Tensor]) -> list[Shape]:
    """Blocks of a head's rows are dealt to multiprocessors (Dao 2023, arXiv 2307.08691, section 3.2)."""
    queries = args[0]  # in a backward pass the gradient, which has the same rows
    count, heads, rows, width = queries.shape
    return [(count * heads, rows, width)]


def _shapes() -> dict[Any, Callable[[Sequence[Any], Sequence[Tensor]], list[Shape]]]:
    aten = torch.ops.aten
    attentions = [one for one in (*flop_registry, *cpu_formulas()) if one.__name__.startswith("_scaled_dot_product")]
    return {
        **dict.fromkeys((aten.mm, aten.addmm, aten.bmm, aten.baddbmm), _product),
        aten.convolution: _convolution,
        aten.convolution_backward: _convolution_backward,
        **dict.fromkeys(attentions, _attention),
    }


_SHAPES = _shapes()


def _scattered(func: Any, args: Sequence[Any]) -> int:
    """How many numbers an operation reads or adds to one by one, at places that a tensor of indices or points names."""
    count = _SCATTERED.get(func.overloadpacket)
    return count(args) if count else 0


def _corners(values: Tensor, grid: Tensor) -> int:
    """Values (B, C, …) at the corners around the points of a grid (B, …, axes)."""
    return values.shape[1] * math.prod(grid.shape[:-1]) * 2 ** grid.shape[-1]


_SCATTERED: Mapping[Any, Callable[[Sequence[Any]], int]] = {
    **dict.fromkeys((torch.ops.aten.index_add, torch.ops.aten.scatter_add), lambda args: args[3].numel()),
    torch.ops.aten._embedding_bag_backward: lambda args: 2 * args[1].numel() * args[0].shape[-1],
    torch.ops.aten.grid_sampler_3d: lambda args: _corners(args[0], args[1]),
    torch.ops.aten.grid_sampler_2d_backward: lambda args: _corners(args[1], args[2]),
    torch.ops.aten.grid_sampler_3d_backward: lambda args: _corners(args[1], args[2]),
}


def _changed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that an operation without a result writes to, such as the lists of a fused optimiser."""
    named = dict(zip((spec.name for spec in func._schema.arguments), args, strict=False)) | dict(kwargs)
    written = [spec.name for spec in func._schema.arguments if spec.alias_info is not None and spec.alias_info.is_write]
    return [named[name] for name in written if name in named]


def _moves_nothing(func: Any, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    """Whether an operation is a view or only reserves memory."""
    if "empty" in func.overloadpacket.__name__:
        return True
    storages = {id(tensor.untyped_storage()) for tensor in inputs}
    return not func._schema.is_mutable and all(id(tensor.untyped_storage()) in storages for tensor in outputs)
