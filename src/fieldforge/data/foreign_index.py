"""Manifest and indexes for folders of foreign tars: built once, and rebuilt for tars that have changed.

They lie in `.fieldforge` beside the tars, or in the user's cache where that folder cannot be written.
"""

import hashlib
import json
import logging
import os
import re
import tarfile
import zlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from fieldforge.data.cache import locked
from fieldforge.data.image_foreign import FOREIGN_IMAGE, foreign_members, key_and_suffix, picture_suffix
from fieldforge.data.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardIndex,
    parse_index,
    read_manifest,
    settings_sha256,
    write_manifest,
)
from fieldforge.data.table import ShardEntry, index_name
from fieldforge.data.writer import shard_entry
from fieldforge.errors import UserError
from fieldforge.storage.files import atomic_file, make_folder
from fieldforge.storage.store import LocalStore
from fieldforge.terminal import status

log = logging.getLogger(__name__)

FOLDER = ".fieldforge"
STATE = "state.json"
SETTINGS = {"indexed": "pictures of others"}
HELD_OUT = re.compile(r"(?<![a-z])(val|valid|validation|test|dev|heldout)(?![a-z])")
BLOCK = tarfile.BLOCKSIZE
REST = "rest of a damaged tar"
MOST_CLASSES = 100_000


class ForeignStore(LocalStore):
    """A local folder of tars whose manifest and indexes lie in another folder."""

    def __init__(self, folder: Path, indexes: Path) -> None:
        super().__init__(folder)
        self.indexes = LocalStore(indexes)

    def size(self, name: str) -> int:
        return super().size(name) if name.endswith(".tar") else self.indexes.size(name)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        return super().read(name, start, stop) if name.endswith(".tar") else self.indexes.read(name, start, stop)


def is_foreign(folder: str | Path) -> bool:
    """Whether the place is a folder of tars without a manifest."""
    return Path(folder).is_dir() and not Path(folder, MANIFEST_NAME).is_file() and bool(tars_of(Path(folder)))


def tars_of(folder: Path) -> list[Path]:
    """Tars of a folder, sorted by name, without hidden ones."""
    return sorted(path for path in folder.glob("*.tar") if not path.name.startswith(".") and path.is_file())


def open_foreign(folder: Path) -> ForeignStore:
    """The folder with indexes that fit its tars. UserError if none of them holds a picture."""
    indexes = _index_folder(folder)
    store = ForeignStore(folder, indexes)
    with locked(indexes / "lock"):  # of several processes one makes them
        state = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in tars_of(folder)}
        before = _state(indexes)
        if state != before or not (indexes / MANIFEST_NAME).is_file():
            _make(folder, indexes, {name for name in state if state[name] == before.get(name)})
            with atomic_file(indexes / STATE) as file:
                file.write(json.dumps(state).encode())
    return store


def _index_folder(folder: Path) -> Path:
    try:
        return make_folder(folder / FOLDER, "data.root")
    except UserError:
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        cache = Path(os.environ.get("FIELDFORGE_CACHE") or Path.home() / ".cache" / "fieldforge")
        return make_folder(cache / "indexes" / place, "data.root")


def _state(indexes: Path) -> dict[str, list[int]]:
    try:
        return dict(json.loads((indexes / STATE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _make(folder: Path, indexes: Path, unchanged: set[str]) -> Manifest:
    entries: list[ShardEntry] = []
    classes: Counter[str] = Counter()
    tars = tars_of(folder)
    log.info("%s: holds no manifest; its %d tars are indexed once, in %s", folder, len(tars), indexes)
    for number, path in enumerate(tars):
        status(f"indexing: {number} of {len(tars)} tars, now {path.name}")
        counts = indexes / f"{path.name}.classes.json"
        index = indexes / index_name(path.name)
        if path.name not in unchanged or not index.is_file() or not counts.is_file():
            indexed = index_tar(path)
            for place, content in ((index, asdict(indexed[0])), (counts, indexed[1])):
                with atomic_file(place) as file:
                    file.write(json.dumps(content, sort_keys=True).encode())
        payload = index.read_bytes()
        entry = parse_index(payload, str(index))
        if entry.samples:
            entries.append(shard_entry(path.name, entry, payload))
            classes.update(json.loads(counts.read_bytes()))
        else:
            log.warning("%s: holds no picture beside its other members and is left out", path)
    status("")
    if not entries:
        raise UserError(
            f"data.root={folder}: there is no manifest, and no tar holds a picture (jpg, png, webp); prepare the data "
            "first, or index shards of other kinds with python -m fieldforge.data.index."
        )
    extra = {"classes": dict(sorted(classes.items())[:MOST_CLASSES])}
    write_manifest(indexes, FOREIGN_IMAGE, SETTINGS, entries, extra)
    return read_manifest(indexes)


def index_tar(path: Path) -> tuple[ShardIndex, dict[str, int]]:
    """Index of a tar's pictures, and how many each class has.

    A damaged member counts as a sample, so that the reader finds it and follows the setting data.on_bad_shard.
    UserError if the members of a sample are not adjacent.
    """
    keys, offsets, members = _samples_of(path)
    checksums, classes = [], Counter[str]()
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for start, stop, key in zip([0, *offsets[:-1]], offsets, [None, *keys], strict=True):
            block = file.read(stop - start)
            digest.update(block)
            if key is not None:
                checksums.append(zlib.crc32(block))
                classes.update(_classes(block, key))
        while rest := file.read(1 << 20):
            digest.update(rest)
    split = "heldout" if HELD_OUT.search(path.name.lower()) else "train"
    fingerprint = settings_sha256(FOREIGN_IMAGE, SETTINGS)
    index = ShardIndex(
        FOREIGN_IMAGE.name, FOREIGN_IMAGE.version, fingerprint, split, len(keys), members, path.stat().st_size,
        digest.hexdigest(), tuple(keys), tuple(offsets), tuple(checksums),
    )  # fmt: skip
    return index, dict(classes)


def _classes(block: bytes, key: str) -> list[str]:
    try:
        return [json.loads(bytes(foreign_members(block, key)["meta.json"]))["class"]]
    except (ValueError, RecursionError):
        return []  # the reader says what is wrong with it


def _samples_of(path: Path) -> tuple[list[str], list[int], int]:
    """Keys of samples with a picture; first byte of each and the end of the last; members in all.

    Members that belong to no picture are parts of the sample before them.
    """
    groups: list[tuple[str, int, dict[str, None]]] = []
    end, size, whole = 0, path.stat().st_size, True
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                key, suffix = key_and_suffix(member.name)
                if not groups or groups[-1][0] != key:
                    groups.append((key, member.offset, {}))
                if member.isfile():
                    groups[-1][2][suffix] = None
                end = member.offset_data + -(-member.size // BLOCK) * BLOCK if member.isfile() else member.offset_data
    except (tarfile.TarError, EOFError, OSError):
        whole = False
    with open(path, "rb") as file:
        file.seek(min(end, size))
        whole = whole and not any(file.read(BLOCK))  # zeros end a tar; the library stops at damage as well
    samples = [(key, start, len(names)) for key, start, names in groups if picture_suffix(names)]
    keys = [key for key, _, _ in samples]
    times = Counter(key for key, _, _ in groups)
    if any(times[key] > 1 for key in keys):
        raise UserError(
            f"{path}: the members of a sample are not beside each other, or a key comes twice; sort them by name."
        )
    offsets = [start for _, start, _ in samples]
    members = sum(count for _, _, count in samples)
    if not whole and end < size:
        return [*keys, REST], [*offsets, end, size], members + 1
    return keys, [*offsets, min(end, size)], members
