"""FiftyOne's plugin; its operators are in fieldforge.viewing."""

from typing import Any

from fieldforge.viewing.operators import OPERATORS


def register(plugin: Any) -> None:
    for operator in OPERATORS:
        plugin.register(operator)
