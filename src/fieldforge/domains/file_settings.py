"""What a command asks of the files of outputs; a domain knows the settings of its own kind."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class FileSettings:
    """Base class of the settings of files. Each field of a kind has a default: nothing is asked for."""

    @property
    def chosen(self) -> dict[str, Any]:
        """Name → value of the settings that are not as by default."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}
