"""The settings of export.py; they check themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fieldforge.domains.mesh_settings import MeshSettings, check_package
from fieldforge.errors import UserError


@dataclass(frozen=True)
class ExportSettings:
    """All settings of the command.

    Args:
        run: directory of a finished diffusion run; None: the newest.
        format: card: the folder of a model for others; diffusers: that of a pipeline.
        data_root: shards whose assets a card lists; None: the run's training data.
        command: of the training, for a card; None: a person fills it in.
        meshes: in the place of a run: a mesh file, or a folder of them.
        mesh: how these are written.
        output: folder for the files.
        output_dir: where runs lie.
    """

    run: str | None
    format: Literal["card", "diffusers"] | None
    data_root: str | Sequence[str] | None
    command: str | None
    meshes: str | None
    mesh: MeshSettings
    output: str
    output_dir: str

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise UserError("output= is empty: give a folder for the files, such as output=my_pipeline")
        if self.meshes is None and self.format is None:
            raise UserError(
                "nothing is to be written: give format=card or format=diffusers for a run, or meshes= files to convert"
            )
        for key, value in {"data_root": self.data_root, "command": self.command}.items():
            if self.format != "card" and value is not None:
                raise UserError(f"{key}={value} has no effect without format=card: give that, or leave it out")
        if self.meshes is None and self.mesh.chosen:
            raise UserError(
                f"mesh.{next(iter(self.mesh.chosen))}= has no effect without meshes=: give that, or leave it out"
            )
        for key, value in {"run": self.run, "format": self.format}.items():
            if self.meshes is not None and value is not None:
                raise UserError(f"{key}={value} has no effect on meshes={self.meshes}: leave one of them out")
        if self.meshes is not None and not self.meshes.strip():
            raise UserError("meshes= is empty: give a mesh file, or a folder of them")
        if self.meshes is not None:
            check_package("igl", f"meshes={self.meshes}")
