"""Asset source: a folder or a zip of meshes, with an optional table of labels."""

import difflib
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from fieldforge.errors import UserError
from fieldforge.preparation.asset_files import AssetFile, asset_files
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.labels import Label, read_labels, same_name
from fieldforge.preparation.sh3f import class_of
from fieldforge.readers.file_store import plain_text
from fieldforge.readers.load import MESH_ENDINGS
from fieldforge.storage.cloud import is_remote

log = logging.getLogger(__name__)


class FolderSource:
    """An asset source over all meshes below `path`, a path or an address: a folder (with the zips in it) or one zip.

    `labels` is a table (see `labels.py`) with a column `file` (relative to `path`; in a zip "archive.zip/member") and
    any of its other COLUMNS. Without it an asset is named after its file, and its class is found by the keywords in
    `classes`. Links are followed where they end in one of `stores.reachable_folders`. `name`, `licence` and `creator`
    hold for all assets of which the table does not say otherwise.
    """

    endings: ClassVar[tuple[str, ...]] = MESH_ENDINGS

    def __init__(
        self,
        path: str,
        labels: str | None,
        name: str | None,
        licence: str,
        creator: str,
        classes: Mapping[str, Sequence[str]],
    ) -> None:
        self.path = path if is_remote(path) else str(Path(path))
        self.labels = None if labels is None else Path(labels)
        self.name = plain_text(PurePosixPath(path).stem) if name is None else name
        self.licence, self.creator, self.classes = licence, creator, classes

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All assets, sorted by their names. UserError if the path or the table cannot be used."""
        files, left_out = self._files
        labels = {} if self.labels is None else read_labels(self.labels, self.endings)
        if left_out:
            name, reason = left_out[0]
            log.warning("%s: %d links, folders or archives are left out; the first is '%s': %s",
                        plain_text(self.path), len(left_out), plain_text(name), reason)  # fmt: skip
        records = [
            self._record(
                file.id,
                labels.get(same_name(file.id), Label()),
                archive=file.archive,
                file=file.member,
                reject=file.reject,
                revision=file.revision,
            )
            for file in files
        ]
        missing = labels.keys() - {same_name(file.id) for file in files}
        if missing:
            first = next(file for file in labels if file in missing)
            near = difflib.get_close_matches(first, [file.id for file in files], n=1)
            raise UserError(
                f"{self.labels}: it names '{first}', but there is no such file below {self.path} "
                f"({len(missing)} of {len(labels)} rows); correct the column 'file'"
                + (f", perhaps to '{near[0]}'." if near else ".")
            )
        return records

    def fingerprint(self) -> dict[str, str]:
        """Names and sizes of all meshes as one checksum."""
        digest = hashlib.sha256()
        for file in self._files[0]:
            digest.update(f"{file.id}\0{file.bytes}\n".encode())
        return {"files": digest.hexdigest()}

    @cached_property
    def _files(self) -> tuple[list[AssetFile], list[tuple[str, str]]]:
        """Listed once: a source of a million files takes a while."""
        return asset_files(self.path, self.endings)

    def _record(self, file_id: str, label: Label, **place: Any) -> AssetRecord:
        """The record of one file; `place`: its location as in a record."""
        name = label.name or words_of(file_id)
        return AssetRecord(
            id=file_id,
            name=name,
            source=self.name,
            asset_class=label.asset_class or class_of(name, self.classes),
            captions=label.captions,
            tags=label.tags,
            licence=label.licence or self.licence,
            creator=label.creator or self.creator,
            split=label.split or None,
            **place,
        )


def words_of(file: str) -> str:
    """Words of a file's name: its base name, or its folder's where the base name is generic ("scene.gltf").

    >>> words_of("chairs/red_armChair-2.glb"), words_of("old sofa/model.obj")
    ('red arm chair 2', 'old sofa')
    """
    parts = re.sub(r"\.zip/", "/", file.replace("\\", "/")).split("/")
    base = parts[-1].rpartition(".")[0]
    if base.lower() in ("scene", "model", "mesh", "object", "untitled", "source") and len(parts) > 1:
        base = parts[-2]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", base)
    words = re.sub(r"[\s_\-.]+", " ", spaced).strip().lower()
    return words or base or "object"
