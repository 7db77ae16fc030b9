"""Peak memory: live bytes, tracked from operation to operation."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Bytes of all live storages created inside the mode, and their peak.

    The mode tracks the results of operations in the forward and the backward pass: saved activations, recomputed ones
    and temporaries count as long as they live. Within a `FakeTensorMode` nothing is allocated. Workspace memory inside
    a kernel is not tracked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._storages: dict[int, weakref.ref] = {}

    def restart_peak(self) -> None:
        """Restart the peak at the present value."""
        self.peak = self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return outputs

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        identity = id(storage)
        if identity in self._storages:
            return
        size = storage.nbytes()

        def freed(_: weakref.ref) -> None:
            del self._storages[identity]
            self.live -= size

        self._storages[identity] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)
