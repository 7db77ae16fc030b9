"""Asset source: videos and animations in tars of others, such as video2dataset's."""

import hashlib
from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from fieldforge.data.image_foreign import key_and_suffix, meta_of
from fieldforge.errors import UserError
from fieldforge.preparation.asset_files import has_ending
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.clips.moving_pictures import ENDINGS
from fieldforge.readers.file_store import plain_text
from fieldforge.readers.tar_store import TarStore

TEXTS = ("txt", "caption", "cls", "json")
"""Endings of what lies beside a clip, see `data.image_foreign`."""
MOST_TEXT = 2**20  # bytes of one


class ClipShards:
    """An asset source over the clips in the tars of a folder, or in one tar, in WebDataset layout.

    Beside a clip `<key>.mp4` lie its caption (`txt`, `caption`), its class (`cls`) or an object with either (`json`).
    `name`, `licence` and `creator` hold for all clips; an object's own licence comes first.
    """

    def __init__(self, path: str, name: str | None, licence: str, creator: str) -> None:
        self.path = Path(path)
        self.name = plain_text(self.path.stem) if name is None else name
        self.licence, self.creator = licence, creator

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All clips, sorted by tar and name. UserError without tars, or for one that cannot be read."""
        return [record for tar in self._tars for record in self._of_tar(tar)]

    def fingerprint(self) -> dict[str, str]:
        """Names and sizes of all tars as one checksum."""
        digest = hashlib.sha256()
        for tar in self._tars:
            digest.update(f"{tar.name}\0{tar.stat().st_size}\n".encode())
        return {"tars": digest.hexdigest()}

    @cached_property
    def _tars(self) -> list[Path]:
        tars = [self.path] if self.path.is_file() else sorted(self.path.glob("*.tar"))
        if not tars:
            raise UserError(f"source.path={self.path}: there is no tar; give a folder of tars, or one tar.")
        return tars

    def _of_tar(self, tar: Path) -> list[AssetRecord]:
        store = TarStore(tar, MOST_TEXT)
        samples: dict[str, dict[str, str]] = defaultdict(dict)  # key → suffix → member
        for member in store.names():
            key, suffix = key_and_suffix(member)
            samples[key][suffix] = member
        revision = f"{tar.stat().st_size}-{tar.stat().st_mtime_ns}"
        records = []
        for key, members in samples.items():
            clips = [member for member in members.values() if has_ending(member, ENDINGS)]
            if clips:
                texts = {suffix: name for suffix, name in members.items() if suffix in TEXTS}
                records.append(self._record(store, f"{tar.name}/{key}", clips[0], texts, revision))
        return records

    def _record(self, store: TarStore, sample: str, clip: str, texts: dict[str, str], revision: str) -> AssetRecord:
        """A clip's record. Texts that cannot be read, or that are too long, reject it."""
        record = AssetRecord(
            plain_text(sample),
            plain_text(sample),
            str(store.path),
            clip,
            self.name,
            creator=self.creator,
            revision=revision,
        )
        try:
            meta = meta_of(sample, {suffix: store.read(name) for suffix, name in texts.items()})
        except (ValueError, RecursionError) as error:
            return replace(record, reject=f"what lies beside it cannot be read ({error}); correct it.")
        return replace(
            record,
            name=meta["name"],
            source=self.name if meta["source"] == "unknown" else meta["source"],
            asset_class=meta["class"],
            captions=tuple(meta["captions"]),
            licence=self.licence if meta["licence"] == "unknown" else meta["licence"],
        )
