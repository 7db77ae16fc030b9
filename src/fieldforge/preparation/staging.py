"""The staging folder: finished assets wait there, one atomic file each, until all are done."""

import hashlib
import json
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fieldforge.data.codec import decode_json, decode_png, encode_json, encode_png
from fieldforge.data.writer import END_OF_ARCHIVE, tar_member
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.recipe import PreparedAsset
from fieldforge.storage.files import atomic_file

THUMBNAIL = "thumbnail.png"
NOTES = "notes.json"
REJECTED = ("rejected.json", "over_limit.json")


@dataclass(frozen=True)
class Staging:
    """A folder with one file per asset: `<key>-<revision>.tar`, `….rejected.json` or `….over_limit.json`.

    `….over_limit.json` is a rejection for time or memory, which another machine or another try may lift. The revision
    covers the record and the state of the asset's file: a changed asset is prepared again.
    """

    folder: Path

    def _path(self, record: AssetRecord, ending: str) -> Path:
        text = json.dumps(asdict(record), sort_keys=True)
        return self.folder / f"{record.key}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.{ending}"

    def has(self, record: AssetRecord) -> bool:
        return any(self._path(record, ending).is_file() for ending in ("tar", *REJECTED))

    def put(self, record: AssetRecord, asset: PreparedAsset) -> None:
        extra = {THUMBNAIL: encode_png(asset.thumbnail), NOTES: encode_json(asset.notes)}
        with atomic_file(self._path(record, "tar")) as file:
            for suffix, payload in {**asset.members, **extra}.items():
                file.write(tar_member(suffix, payload))
            file.write(END_OF_ARCHIVE)

    def put_rejected(self, record: AssetRecord, reason: str, by_limit: bool = False) -> None:
        with atomic_file(self._path(record, REJECTED[by_limit])) as file:
            file.write(json.dumps(reason).encode())

    def forget_limits(self) -> None:
        """Forgets rejections for time and memory, so that these assets are tried again."""
        for path in self.folder.glob(f"*.{REJECTED[1]}"):
            path.unlink()

    def reason(self, record: AssetRecord) -> str | None:
        """Why the asset was rejected, or None if it was prepared."""
        paths = [path for ending in REJECTED if (path := self._path(record, ending)).is_file()]
        return str(json.loads(paths[0].read_bytes())) if paths else None

    def members(self, record: AssetRecord, split: str) -> dict[str, bytes]:
        """Encoded members by suffix, in the order in which they were put, as a sample of this split."""
        with tarfile.open(self._path(record, "tar")) as archive:
            files = {info.name: archive.extractfile(info) for info in archive.getmembers()}
            members = {name: file.read() for name, file in files.items() if file is not None}
        meta = decode_json(members["meta.json"])
        if meta["split"] != split:
            members["meta.json"] = encode_json(meta | {"split": split})
        return {name: payload for name, payload in members.items() if name not in (THUMBNAIL, NOTES)}

    def thumbnail(self, record: AssetRecord) -> np.ndarray:
        """uint8 (H, W, 4)."""
        return decode_png(self._member(record, THUMBNAIL))

    def notes(self, record: AssetRecord) -> list[str]:
        """Notes of losses in a prepared asset."""
        return [str(text) for text in decode_json(self._member(record, NOTES))]

    def _member(self, record: AssetRecord, name: str) -> bytes:
        with tarfile.open(self._path(record, "tar")) as archive:
            file = archive.extractfile(name)
            assert file is not None
            return file.read()
