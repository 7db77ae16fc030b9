"""Size limit for models from stored configurations, so that a foreign one cannot exhaust the memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fieldforge.errors import UserError

MOST_PARAMETERS = 50_000
"""Tensors of a model. The largest known models have a few thousand; each tensor also costs memory of Python objects."""


@contextmanager
def bounded(most: int) -> Iterator[None]:
    """Inside this context a model is refused as soon as its parameters exceed the limits, before they get values.

    Args:
        most: bytes of all parameters together.

    Raises:
        UserError: more than `most` bytes, or more than `MOST_PARAMETERS` tensors.
    """
    count = size = 0

    def look(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, size
        if parameter is None:
            return
        count, size = count + 1, size + parameter.numel() * parameter.element_size()
        if count > MOST_PARAMETERS or size > most:
            much = f"{MOST_PARAMETERS:,} tensors" if count > MOST_PARAMETERS else f"{most:,} bytes"
            raise UserError(
                f"its configuration describes a model of more than {much}, and its weights are those of a smaller one: "
                "use another copy of that file"
            )

    handle = register_module_parameter_registration_hook(look)
    try:
        yield
    finally:
        handle.remove()
