"""A recipe of pictures each of which takes a second of waiting: what an engine adds to the work itself."""

import time

from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.images.picture_recipe import PictureRecipe
from fieldforge.preparation.recipe import PreparedAsset
from fieldforge.readers.file_store import FileStore

SECONDS = 1.0


class WaitingRecipe(PictureRecipe):
    """Waits before each picture."""

    def prepare(self, record: AssetRecord, store: FileStore, seed: int) -> PreparedAsset:
        time.sleep(SECONDS)
        return super().prepare(record, store, seed)
