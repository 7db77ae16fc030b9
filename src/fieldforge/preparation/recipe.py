"""Recipes: the interface between the pipeline and kinds of samples (shapes, pictures, user-defined ones)."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, ClassVar

import numpy as np

from fieldforge.data.schema import Schema
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.readers.file_store import FileStore
from fieldforge.readers.limits import AssetLimits


@dataclass(frozen=True)
class PreparedAsset:
    """A sample's encoded members by suffix, a picture uint8 (H, W, 4) for the contact sheet, and notes of losses."""

    members: dict[str, bytes]
    thumbnail: np.ndarray
    notes: list[str]


class Recipe(ABC):
    """The settings and method that, with seed and source, determine samples. A recipe is sent to worker processes.

    Args:
        schema: of the shards.
        version: rises when the code makes other samples of the same assets, so that old and new samples never mix.
        libraries: modules without which every asset would be rejected.
        preload: modules that each process imports; slow ones are imported once for all.
        limits: beyond these an asset is rejected.
        heldout_share: of the name stems.
        samples_per_shard: samples of a tar.
    """

    schema: ClassVar[Schema]
    version: ClassVar[int]
    libraries: ClassVar[tuple[str, ...]]
    preload: ClassVar[tuple[str, ...]]
    limits: AssetLimits
    heldout_share: float
    samples_per_shard: int

    def determining(self) -> dict[str, Any]:
        """The values that determine the samples, as plain ones."""
        assert is_dataclass(self)
        return asdict(self) | {"limits": self.limits.determining()}

    @abstractmethod
    def prepare(self, record: AssetRecord, store: FileStore, seed: int) -> PreparedAsset:
        """The sample of one asset. AssetError: why it cannot be used."""
