"""The settings of export.py; they check themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fieldforge.errors import UserError


@dataclass(frozen=True)
class ExportSettings:
    """All settings of the command.

    Args:
        run: directory of a finished diffusion run; None: the newest.
        format: diffusers: the folder of a pipeline.
        output: folder for the files.
        output_dir: where runs lie.
    """

    run: str | None
    format: Literal["diffusers"]
    output: str
    output_dir: str

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise UserError("output= is empty: give a folder for the files, such as output=my_pipeline")
