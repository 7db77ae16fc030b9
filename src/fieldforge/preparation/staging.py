"""The staging folder: finished assets wait there, one file each, until all are decided."""

import hashlib
import io
import json
import tarfile
import time
from dataclasses import asdict, dataclass

import numpy as np

from fieldforge.data.codec import decode_json, decode_png, encode_json, encode_png
from fieldforge.data.writer import END_OF_ARCHIVE, tar_member
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.recipe import PreparedAsset
from fieldforge.storage.output import Output

THUMBNAIL = "thumbnail.png"
NOTES = "notes.json"
STAGED, REJECTED, OVER_LIMIT = "tar", "rejected.json", "over_limit.json"
ENDINGS = (STAGED, REJECTED, OVER_LIMIT)
"""Where an asset has several files, the first of these counts: a machine that was slow may have staged it after all."""
VISIBLE_SECONDS = 90.0
"""For so long a shared folder may hide a new file from another machine, which remembers its absence."""


@dataclass(frozen=True)
class StagedAsset:
    """A prepared asset: encoded members by suffix, in the order in which they were put; a picture; notes of losses."""

    members: dict[str, bytes]
    thumbnail: np.ndarray  # uint8 (H, W, 4)
    notes: list[str]


@dataclass(frozen=True)
class Staging:
    """A folder with one file per asset: `<hash>/<key>-<revision>.tar`, `….rejected.json` or `….over_limit.json`.

    `….over_limit.json` is a rejection for time or memory, which another machine or another try may lift. The revision
    covers the record and the state of the asset's file: a changed asset is prepared again. The 256 folders keep
    listings of a million assets short.
    """

    output: Output

    def name(self, record: AssetRecord) -> str:
        """The name of an asset's file without its ending."""
        text = json.dumps(asdict(record), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{digest[8:10]}/{record.key}-{digest[:8]}"

    def found(self) -> dict[str, str]:
        """Name → ending of all assets that have a file. One listing, however many there are."""
        files, found = self.output.all_names(), dict[str, str]()
        for ending in reversed(ENDINGS):
            found |= {file.removesuffix(f".{ending}"): ending for file in files if file.endswith(f".{ending}")}
        return found

    def put(self, record: AssetRecord, asset: PreparedAsset) -> None:
        extra = {THUMBNAIL: encode_png(asset.thumbnail), NOTES: encode_json(asset.notes)}
        with self.output.file(f"{self.name(record)}.{STAGED}") as file:
            for suffix, payload in {**asset.members, **extra}.items():
                file.write(tar_member(suffix, payload))
            file.write(END_OF_ARCHIVE)

    def put_rejected(self, record: AssetRecord, reason: str, by_limit: bool = False) -> None:
        with self.output.file(f"{self.name(record)}.{OVER_LIMIT if by_limit else REJECTED}") as file:
            file.write(json.dumps(reason).encode())

    def forget_limits(self) -> dict[str, str]:
        """Forgets rejections for time and memory, so that these assets are tried again; what is found of the others."""
        found = self.found()
        self.output.remove(f"{name}.{OVER_LIMIT}" for name, ending in found.items() if ending == OVER_LIMIT)
        return {name: ending for name, ending in found.items() if ending != OVER_LIMIT}

    def reason(self, record: AssetRecord) -> str | None:
        """Why the asset was rejected, or None if it was prepared. FileNotFoundError if it is neither."""
        for ending in ENDINGS:
            file = f"{self.name(record)}.{ending}"
            if self.output.size(file) is not None:
                return None if ending == STAGED else str(json.loads(self.output.read(file)))
        raise FileNotFoundError(f"{self.output.url}/{self.name(record)}")

    def asset(self, record: AssetRecord) -> StagedAsset:
        """A prepared asset. FileNotFoundError if it does not appear within VISIBLE_SECONDS."""
        until = time.monotonic() + VISIBLE_SECONDS
        while True:
            try:
                payload = self.output.read(f"{self.name(record)}.{STAGED}")
                break
            except FileNotFoundError:
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)
        with tarfile.open(fileobj=io.BytesIO(payload)) as archive:
            files = {info.name: archive.extractfile(info) for info in archive.getmembers()}
            members = {name: file.read() for name, file in files.items() if file is not None}
        thumbnail, notes = decode_png(members.pop(THUMBNAIL)), decode_json(members.pop(NOTES))
        return StagedAsset(members, thumbnail, [str(text) for text in notes])


def members_of_split(members: dict[str, bytes], split: str) -> dict[str, bytes]:
    """Encoded members as those of a sample of this split."""
    meta = decode_json(members["meta.json"])
    return members if meta["split"] == split else members | {"meta.json": encode_json(meta | {"split": split})}
