"""The settings of mesh files; they check themselves."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fieldforge.domains.file_settings import FileSettings
from fieldforge.errors import UserError, install_command
from fieldforge.ranges import Positive, Range

PACKAGES = {"igl": "files", "xatlas": "files", "pxr": "usd"}
"""Module → the extra that brings it."""


@dataclass(frozen=True)
class MeshSettings(FileSettings):
    """Settings of the block `mesh`.

    Args:
        formats: glb, ply, obj, usdz: each is written.
        faces: at most so many triangles; None: those of the isosurface.
        texture: texels along a side of a texture of the field's colours; None: colours of vertices.
        watertight: no face of a simplified mesh cuts through another; an isosurface is closed in any case.
        size_cm: length of the longest side; None: box units, 1 as a metre.
    """

    formats: Sequence[Literal["glb", "ply", "obj", "usdz"]] = ("glb", "ply")
    faces: Annotated[int, Range(4, 100_000_000)] | None = None
    texture: Annotated[int, Range(16, 8192)] | None = None
    watertight: bool = False
    size_cm: Positive | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", tuple(self.formats))  # equal to the default, whoever built it
        if not self.formats or len(set(self.formats)) < len(self.formats):
            written = ",".join(self.formats)
            raise UserError(f"mesh.formats=[{written}] must name each format once: such as mesh.formats=[glb,obj]")
        if self.texture is not None and self.formats == ("ply",):
            raise UserError(
                f"mesh.texture={self.texture} has no effect on PLY files: add glb, obj or usdz to mesh.formats"
            )
        for wanted, package, setting in (
            (self.faces is not None, "igl", f"mesh.faces={self.faces}"),
            (self.texture is not None, "xatlas", f"mesh.texture={self.texture}"),
            ("usdz" in self.formats, "pxr", "mesh.formats=[…,usdz]"),
        ):
            if wanted:
                check_package(package, setting)

    @property
    def finishing(self) -> dict[str, Any]:
        """Arguments of `geometry.finishing.finish`."""
        names = ("faces", "texture", "watertight", "size_cm")
        return {name: getattr(self, name) for name in names}


def check_package(module: str, setting: str) -> None:
    """UserError if a package of `PACKAGES` is missing that a setting needs."""
    if importlib.util.find_spec(module) is None:
        command = install_command(PACKAGES[module])
        raise UserError(f"{setting} needs the package {module}, which is not installed: {command}.")
