"""The preparation pipeline: asset source → shards with manifest, list of rejected assets and contact sheet."""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from fieldforge.data.manifest import MANIFEST_NAME, Manifest, read_manifest, settings_sha256, write_manifest
from fieldforge.data.writer import ShardWriter
from fieldforge.errors import UserError, install_command
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.contact_sheet import contact_sheet
from fieldforge.preparation.recipe import Recipe
from fieldforge.preparation.splits import assign_splits, uneven
from fieldforge.preparation.staging import Staging
from fieldforge.preparation.workers import stage_all
from fieldforge.readers.file_store import plain_text
from fieldforge.storage.files import MACHINE, atomic_file, make_folder, remove_leftovers, writing
from fieldforge.storage.lock import scope, take
from fieldforge.terminal import duration, quantity, status

log = logging.getLogger(__name__)

REJECTED_NAME = "rejected.jsonl"
NOTES_NAME = "notes.jsonl"
CONTACT_SHEET_NAME = "contact_sheet.png"
STAGING_NAME = ".staging"


class AssetSource(Protocol):
    """The interface of an asset source."""

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All assets, in a fixed order."""
        ...

    def fingerprint(self) -> dict[str, str]:
        """Fingerprint of the content, without paths of this machine."""
        ...


@dataclass(frozen=True)
class PreparationReport:
    """The result of a preparation.

    Args:
        cpu_seconds: mean over the assets worked on in this call, None if none was left.
        was_complete: whether the shards existed before.
    """

    manifest: Manifest
    assets: int
    rejected: int
    cpu_seconds: float | None
    was_complete: bool


@scope()
def prepare(source: AssetSource, recipe: Recipe, seed: int, output: Path, workers: int) -> PreparationReport:
    """Prepares every asset of `source` into shards in `output`; after an interruption the same call resumes.

    The bytes of the shards depend on source, settings and seed alone. UserError if `output` holds shards of other
    settings, if no asset can be used, or if the machine fails (a full disk); staged assets stay.
    """
    check_libraries(recipe.libraries)
    records = source.records(recipe.limits.max_file_bytes)
    _check_records(records)
    if not os.path.isfile(output / MANIFEST_NAME):
        make_folder(output, "output")
    determining = {"preparation": recipe.determining(), "recipe": recipe.version, "seed": seed}
    written = determining | {"source": source.fingerprint() | {"records": _records_sha256(records)}}
    written = json.loads(json.dumps(written))  # tuples as lists: what a manifest gives back
    finished = _finished(output, written)
    if finished is not None:
        shutil.rmtree(output / STAGING_NAME, ignore_errors=True)
        return PreparationReport(finished, len(records), int(finished.extra["rejected"]), None, True)

    take(output)
    with writing(output, MACHINE):
        remove_leftovers(output)
        staging = Staging(output / STAGING_NAME / settings_sha256(recipe.schema, determining)[:16])
        staging.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(staging.folder)
        staging.forget_limits()
        cpu_seconds = _stage_with_progress(records, recipe, seed, staging, workers)
        manifest, rejected = _write(records, staging, recipe, written, output)
        shutil.rmtree(output / STAGING_NAME)
    return PreparationReport(manifest, len(records), rejected, cpu_seconds, False)


def _write(
    records: list[AssetRecord],
    staging: Staging,
    recipe: Recipe,
    written: dict[str, Any],
    output: Path,
) -> tuple[Manifest, int]:
    """Writes all files of the output from the staged assets; returns the manifest and the number of rejected assets."""
    rejected = {record.id: reason for record in records if (reason := staging.reason(record)) is not None}
    usable = [record for record in records if record.id not in rejected]
    unusable = [record for record in records if record.id in rejected]
    _write_lines(output / REJECTED_NAME, [_line(record, "reason", rejected[record.id]) for record in unusable])
    if not usable:
        raise UserError(
            f"of {quantity(len(records), 'asset')} none can be used; {output / REJECTED_NAME} says why of each."
        )
    notes = [(record, text) for record in usable for text in staging.notes(record)]
    _write_lines(output / NOTES_NAME, [_line(record, "note", text) for record, text in notes])
    with atomic_file(output / CONTACT_SHEET_NAME) as file:
        contact_sheet([(record.name, staging.thumbnail(record)) for record in usable]).save(file, format="PNG")
    return _write_shards(usable, staging, recipe, written, output, len(rejected)), len(rejected)


def check_libraries(libraries: Iterable[str]) -> None:
    """UserError if a library is missing. Before the first asset: without them every one of them would be rejected."""
    for module in libraries:
        if importlib.util.find_spec(module) is None:
            raise UserError(
                f"preparing needs the package {module}, which is not installed: {install_command('prepare')}."
            )


def _check_records(records: list[AssetRecord]) -> None:
    if not records:
        raise UserError("the source holds no assets; point source.path to a folder or zip that has some.")
    repeated = [asset_id for asset_id, count in Counter(record.id for record in records).items() if count > 1]
    if repeated:
        raise UserError(f"the id '{repeated[0]}' stands for more than one asset; give every asset its own id.")


def _records_sha256(records: list[AssetRecord]) -> str:
    """Checksum of the assets' records, without their paths on this machine."""
    values = [
        {key: value for key, value in asdict(record).items() if key not in ("archive", "revision")}
        for record in records
    ]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _finished(output: Path, written: dict[str, Any]) -> Manifest | None:
    """The manifest of an earlier, finished run with the same settings; UserError if the settings were others."""
    if not (output / MANIFEST_NAME).is_file():
        return None
    manifest = read_manifest(output)
    if manifest.settings != written:
        before, now = _flat(manifest.settings), _flat(written)
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        raise UserError(
            f"{output}: was prepared with other settings ({', '.join(keys[:6])}); choose another output=… or remove it."
        )
    return manifest


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _stage_with_progress(
    records: list[AssetRecord], recipe: Recipe, seed: int, staging: Staging, workers: int
) -> float | None:
    """Stages the missing assets and shows progress. Mean CPU-seconds per asset, None if none was missing."""
    left = [record for record in records if not staging.has(record)]
    seconds: list[float] = []
    start, name = time.monotonic(), ""

    def done(record: AssetRecord, cpu_seconds: float) -> None:
        nonlocal name
        seconds.append(cpu_seconds)
        name = record.name

    def look() -> None:
        passed = time.monotonic() - start
        more = f"{duration(passed / len(seconds) * (len(left) - len(seconds)))} left, " if seconds else ""
        count = len(records) - len(left) + len(seconds)
        status(f"preparing: {count} of {quantity(len(records), 'asset')}, {duration(passed)} spent, {more}last: {name}")

    stage_all(left, recipe, seed, staging, workers, done, look)
    if left:
        look()
    status("")
    return sum(seconds) / len(seconds) if seconds else None


def _line(record: AssetRecord, kind: str, text: str) -> dict[str, str]:
    line = {"id": record.id, "name": record.name, "file": record.file, kind: text}
    return {key: plain_text(value) for key, value in line.items()}


def _write_lines(path: Path, lines: list[dict[str, str]]) -> None:
    """One JSON object a line; an empty file if there is none."""
    with atomic_file(path) as file:
        file.writelines(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def _write_shards(
    usable: list[AssetRecord],
    staging: Staging,
    recipe: Recipe,
    written: dict[str, Any],
    output: Path,
    rejected: int,
) -> Manifest:
    entries = []
    counts: Counter[str] = Counter()
    splits, sentence = assign_splits(usable, recipe.heldout_share)
    if sentence:
        log.info("%s", sentence)
    if warning := uneven(usable, splits, recipe.heldout_share):
        log.warning("warning: %s", warning)
    for split in sorted(set(splits.values())):
        chosen = [record for record in usable if splits[record.id] == split]
        with ShardWriter(output, recipe.schema, written, recipe.samples_per_shard, split) as writer:
            for record in chosen:
                finished = record.key in writer.finished_keys
                writer.write_encoded(record.key, {} if finished else staging.members(record, split))
        entries += writer.entries
        counts[split] = len(chosen)
    extra = {
        "classes": dict(sorted(Counter(record.asset_class for record in usable).items())),
        "rejected": rejected,
        "splits": dict(counts),
    }
    return write_manifest(output, recipe.schema, written, entries, extra)
