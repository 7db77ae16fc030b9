"""What a preparation makes of an asset: the contract between the pipeline and shapes, pictures or what others do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fieldforge.data.schema import Schema
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.readers.file_store import FileStore
from fieldforge.readers.limits import AssetLimits


@dataclass(frozen=True)
class PreparedAsset:
    """A sample's encoded members by suffix, a picture uint8 (H, W, 4) for the contact sheet, what was lost."""

    members: dict[str, bytes]
    thumbnail: np.ndarray
    notes: list[str]


class Recipe(ABC):
    """Settings that, with the seed and the source, determine samples, and how one is made. It travels to processes.

    Args:
        schema: of the shards.
        version: rises when the code makes other samples of the same assets, so that old and new ones never mix.
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

    @abstractmethod
    def determining(self) -> dict[str, Any]:
        """The values that determine the samples, as plain ones."""

    @abstractmethod
    def prepare(self, record: AssetRecord, store: FileStore, seed: int) -> PreparedAsset:
        """The sample of one asset. AssetError: why it cannot be used."""
