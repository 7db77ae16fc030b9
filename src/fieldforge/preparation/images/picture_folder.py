"""Asset source: a folder or a zip of pictures, with an optional table of labels."""

from dataclasses import replace
from typing import Any, ClassVar

from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.folder import FolderSource
from fieldforge.preparation.images.pixels import ENDINGS
from fieldforge.preparation.labels import Label


class PictureFolder(FolderSource):
    """An asset source over all pictures below `path`, like `FolderSource` over meshes.

    Captions are those of the table, else the words of the file's name. The class is the table's, else the folder that
    holds the picture (as ImageNet is laid out), else the keyword's in `classes`.
    """

    endings: ClassVar[tuple[str, ...]] = ENDINGS

    def _record(self, file_id: str, label: Label, **place: Any) -> AssetRecord:
        record = super()._record(file_id, label, **place)
        folder = file_id.replace("\\", "/").split("/")[:-1]
        if not label.asset_class and record.asset_class == "other" and folder:
            record = replace(record, asset_class=folder[-1].removesuffix(".zip"))
        named = (record.name,) if label.name or not label.captions else ()
        return replace(record, captions=tuple(dict.fromkeys((*label.captions, *named))))
