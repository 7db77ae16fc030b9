"""How large a model may become that a stranger's configuration describes: not much larger than its weights are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fieldforge.errors import UserError

MOST_PARAMETERS = 50_000
"""Tensors of a model: the largest known ones have a few thousand, and each costs Python's memory beside its own."""


@contextmanager
def bounded(most: int) -> Iterator[None]:
    """Ends the building of models in the block before they outgrow `most`, while their values are still unset.

    Args:
        most: bytes that all parameters may take together.

    Raises:
        UserError: a model has too many parameters, or too large ones.
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
