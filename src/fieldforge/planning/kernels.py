"""Operations and memory traffic of each kernel of a step."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from fieldforge.planning.fused_attention import cpu_formulas


class Kernels(TorchDispatchMode):
    """Records floating-point operations and bytes of each kernel inside the mode.

    Operations count for matrix products, convolutions and attention. Bytes count all input and output tensors. Views
    and reserved memory are no kernels; an operation that a backend splits into several kernels counts once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[int, int]] = []
        own = {packet: shape_wrapper(formula) for packet, formula in cpu_formulas().items()}
        self._formulas: dict[Any, Any] = {**flop_registry, **own}

    @property
    def rows(self) -> np.ndarray:
        """(K, 2) floating-point operations and bytes, in the order in which they start."""
        return np.array(self._rows, np.float64).reshape(-1, 2)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # Operations that change a list of tensors return nothing.
        changed = args[0] if result is None and func._schema.is_mutable else result
        outputs = [leaf for leaf in tree_leaves(changed) if isinstance(leaf, Tensor)]
        if outputs and not _moves_nothing(func, inputs, outputs):
            formula = self._formulas.get(func.overloadpacket)
            operations = 0 if formula is None else formula(*args, **(kwargs or {}), out_val=result)
            moved = sum(leaf.numel() * leaf.element_size() for leaf in inputs + outputs)
            self._rows.append((operations, moved))
        return result


def _moves_nothing(func: Any, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    """Whether an operation is a view or only reserves memory."""
    if "empty" in func.overloadpacket.__name__:
        return True
    storages = {id(tensor.untyped_storage()) for tensor in inputs}
    return not func._schema.is_mutable and all(id(tensor.untyped_storage()) in storages for tensor in outputs)
