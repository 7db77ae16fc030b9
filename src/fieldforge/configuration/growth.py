"""How large a model may become that a stranger's configuration describes: no larger than this machine can hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fieldforge.errors import UserError

MOST_PARAMETERS = 50_000
"""Tensors of a model: the largest known ones have a few thousand, and each costs Python's memory beside its own."""


@contextmanager
def bounded(memory: int | None = None) -> Iterator[None]:
    """Ends the building of models in the block before they outgrow this machine, while their values are still unset.

    Args:
        memory: bytes that all parameters may take together; None: what the machine has.

    Raises:
        UserError: a model has too many parameters, or too large ones.
    """
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if memory is None else memory
    count = size = 0

    def look(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, size
        if parameter is None:
            return
        count, size = count + 1, size + parameter.numel() * parameter.element_size()
        if count > MOST_PARAMETERS or size > limit:
            much = f"{MOST_PARAMETERS:,} tensors" if count > MOST_PARAMETERS else f"{limit / 2**30:.3g} GiB"
            raise UserError(
                f"its configuration describes a model of more than {much}, which this machine cannot hold: use another "
                "copy of that file"
            )

    handle = register_module_parameter_registration_hook(look)
    try:
        yield
    finally:
        handle.remove()
