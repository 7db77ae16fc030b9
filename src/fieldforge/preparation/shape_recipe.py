"""The recipe of shapes."""

from dataclasses import dataclass

from fieldforge.data.shape_schema import SAMPLE
from fieldforge.preparation.asset import prepare_asset
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.recipe import PreparedAsset, Recipe
from fieldforge.preparation.settings import PreparationSettings
from fieldforge.readers.file_store import FileStore


@dataclass(frozen=True)
class ShapeRecipe(PreparationSettings, Recipe):
    """Surface points, signed distances and views of a mesh."""

    schema = SAMPLE
    version = 2
    libraries = ("open3d", "igl")
    preload = ("fieldforge.preparation.server",)

    def prepare(self, record: AssetRecord, store: FileStore, seed: int) -> PreparedAsset:
        return prepare_asset(record, store, self, seed)
