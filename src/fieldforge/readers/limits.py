"""Limits of one asset, checked against a file's header before memory is allocated."""

from dataclasses import asdict, dataclass
from typing import Any

from fieldforge.errors import UserError
from fieldforge.ranges import Count, Positive
from fieldforge.readers.file_store import AssetError


def check_positive(where: str, **values: float) -> None:
    for key, value in values.items():
        if not value > 0:
            raise UserError(f"{where}.{key}={value} must be above 0; raise it.")


@dataclass(frozen=True, kw_only=True)
class AssetLimits:
    """Beyond these an asset is rejected.

    `max_seconds` (of a processor) and `max_memory_gb` (of the whole process) protect the machine. Their effect depends
    on the machine's speed, so they do not count as determining settings: a preparation may resume with other values.
    """

    max_file_mb: Positive
    max_seconds: Positive = 300
    max_memory_gb: Positive = 8

    def __post_init__(self) -> None:
        check_positive(
            "preparation.limits",
            max_file_mb=self.max_file_mb,
            max_seconds=self.max_seconds,
            max_memory_gb=self.max_memory_gb,
        )

    @property
    def max_file_bytes(self) -> int:
        return int(self.max_file_mb * 2**20)

    @property
    def max_memory_bytes(self) -> float:
        return self.max_memory_gb * 2**30

    def determining(self) -> dict[str, Any]:
        """The limits that determine which assets are samples."""
        return {key: value for key, value in asdict(self).items() if key not in ("max_seconds", "max_memory_gb")}


@dataclass(frozen=True, kw_only=True)
class Limits(AssetLimits):
    """Limits of meshes. `min_thickness`: thinnest side over longest side."""

    max_triangles: Count
    min_thickness: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("preparation.limits", max_triangles=self.max_triangles)
        if not 0 <= self.min_thickness < 1:
            raise UserError(f"preparation.limits.min_thickness={self.min_thickness} must lie in 0…1; try 0.005.")


def check_announced(triangles: int, limits: Limits) -> None:
    """AssetError if a file says that it holds more triangles than the limit."""
    if triangles > limits.max_triangles:
        raise AssetError(
            f"the file announces {triangles:,} triangles and the limit is {limits.max_triangles:,}; "
            "simplify it or raise preparation.limits.max_triangles."
        )
