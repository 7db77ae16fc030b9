"""The preparation pipeline: asset source → shards with manifest, list of rejected assets and contact sheet."""

import hashlib
import importlib.util
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fieldforge.data.manifest import MANIFEST_NAME, Manifest, read_manifest, settings_sha256, write_manifest
from fieldforge.engines.engine import Engine
from fieldforge.errors import UserError, install_command
from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.contact_sheet import contact_sheet, even_choice
from fieldforge.preparation.preparation_job import Job, job_of
from fieldforge.preparation.recipe import Recipe
from fieldforge.preparation.shard_parts import ShardJob, parts_of, write_all
from fieldforge.preparation.splits import assign_splits, uneven
from fieldforge.preparation.stage_assets import Reasons, earlier_reasons, stage_all
from fieldforge.preparation.staging import Staging
from fieldforge.readers.file_store import plain_text
from fieldforge.storage.cloud import is_remote
from fieldforge.storage.files import MACHINE, writing
from fieldforge.storage.lock import scope
from fieldforge.storage.output import Output, open_output
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
def prepare(source: AssetSource, recipe: Recipe, seed: int, output: str | Path, engine: Engine) -> PreparationReport:
    """Prepares every asset of `source` into shards in `output`; after an interruption the same call resumes.

    The bytes of the shards depend on source, settings and seed alone. UserError if `output` holds shards of other
    settings, if no asset can be used, or if a machine fails (a full disk); staged assets stay.
    """
    check_libraries(recipe.libraries)
    records = [_absolute(record) for record in source.records(recipe.limits.max_file_bytes)]
    _check_records(records)
    place = open_output(output if is_remote(output) else os.path.abspath(output))
    determining = {"preparation": recipe.determining(), "recipe": recipe.version, "seed": seed}
    written = determining | {"source": source.fingerprint() | {"records": _records_sha256(records)}}
    written = json.loads(json.dumps(written))  # tuples as lists: what a manifest gives back
    finished = _finished(output, place, written)
    if finished is not None:
        place.remove_folder(STAGING_NAME)
        return PreparationReport(finished, len(records), int(finished.extra["rejected"]), None, True)

    engine.about()  # an engine that cannot be reached is met before anything is written
    place.begin("output")
    with writing(Path(place.url), MACHINE):
        staging = Staging(place.below(f"{STAGING_NAME}/{settings_sha256(recipe.schema, determining)[:16]}"))
        with job_of(recipe, seed, staging) as job:
            reasons, cpu_seconds = _stage_with_progress(records, job, engine)
            manifest = _write(records, reasons, job, engine, written, place)
        place.remove_folder(STAGING_NAME)
    rejected = sum(reason is not None for reason in reasons.values())
    return PreparationReport(manifest, len(records), rejected, cpu_seconds, False)


def _write(
    records: list[AssetRecord],
    reasons: Reasons,
    job: Job,
    engine: Engine,
    written: dict[str, Any],
    output: Output,
) -> Manifest:
    """Writes all files of the output from the staged assets."""
    usable = [record for record in records if reasons[record.id] is None]
    unusable = [record for record in records if reasons[record.id] is not None]
    _write_lines(output, REJECTED_NAME, [_line(record, "reason", str(reasons[record.id])) for record in unusable])
    if not usable:
        raise UserError(
            f"of {quantity(len(records), 'asset')} none can be used; {output.url}/{REJECTED_NAME} says why of each."
        )
    splits, sentence = assign_splits(usable, job.recipe.heldout_share)
    if sentence:
        log.info("%s", sentence)
    if warning := uneven(usable, splits, job.recipe.heldout_share):
        log.warning("warning: %s", warning)
    parts = parts_of(usable, splits, job.recipe.samples_per_shard)
    settings = {**written, "samples_per_shard": job.recipe.samples_per_shard}
    entries, notes = write_all(parts, ShardJob(job, output, job.recipe.schema, settings), engine, _shards(len(parts)))
    status("")
    texts: dict[str, list[str]] = {}
    for asset_id, text in notes:
        texts.setdefault(asset_id, []).append(text)
    lines = [_line(record, "note", text) for record in usable for text in texts.get(record.id, ())]
    _write_lines(output, NOTES_NAME, lines)
    tiles = [(record.name, job.staging.asset(record).thumbnail) for record in even_choice(usable)]
    with output.file(CONTACT_SHEET_NAME) as file:
        contact_sheet(tiles).save(file, format="PNG")
    extra = {
        "classes": dict(sorted(Counter(record.asset_class for record in usable).items())),
        "rejected": len(unusable),
        "splits": dict(sorted(Counter(splits.values()).items())),
    }
    return write_manifest(output, job.recipe.schema, written, entries, extra)


def _absolute(record: AssetRecord) -> AssetRecord:
    """The same record, whatever folder a worker was started in."""
    return record if is_remote(record.archive) else replace(record, archive=os.path.abspath(record.archive))


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
    """Checksum of the assets' records as one JSON list, without their paths on this machine."""
    digest = hashlib.sha256(b"[")
    for number, record in enumerate(records):
        values = {key: value for key, value in asdict(record).items() if key not in ("archive", "revision")}
        digest.update((", " if number else "").encode() + json.dumps(values, sort_keys=True).encode())
    digest.update(b"]")
    return digest.hexdigest()


def _finished(place: str | Path, output: Output, written: dict[str, Any]) -> Manifest | None:
    """The manifest of an earlier, finished run with the same settings; UserError if the settings were others."""
    if output.size(MANIFEST_NAME) is None:
        return None
    manifest = read_manifest(output.url)
    if manifest.settings != written:
        before, now = _flat(manifest.settings), _flat(written)
        keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        raise UserError(
            f"{place}: was prepared with other settings ({', '.join(keys[:6])}); choose another output=… or remove it."
        )
    return manifest


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _stage_with_progress(records: list[AssetRecord], job: Job, engine: Engine) -> tuple[Reasons, float | None]:
    """Stages the missing assets and shows progress. Reasons of all; mean CPU-seconds per asset, None if none was
    missing."""
    known = earlier_reasons(records, job)
    left = [record for record in records if record.id not in known]
    seconds: list[float] = []
    start, name = time.monotonic(), ""

    def done(record: AssetRecord, cpu_seconds: float) -> None:
        nonlocal name
        seconds.append(cpu_seconds)
        name = record.name

    def look() -> None:
        passed = time.monotonic() - start
        count = len(known) + len(seconds)
        parts = [f"preparing: {count} of {quantity(len(records), 'asset')}", f"{duration(passed)} spent"]
        if seconds:
            parts.append(f"{duration(passed / len(seconds) * (len(left) - len(seconds)))} left")
        status(", ".join(filter(None, [*parts, engine.about(), name and f"last: {name}"])))

    reasons = stage_all(left, job, engine, done, look)
    if left:
        look()
    status("")
    return known | reasons, sum(seconds) / len(seconds) if seconds else None


def _shards(count: int) -> Callable[[int], None]:
    return lambda finished: status(f"writing: {finished} of {quantity(count, 'shard')}")


def _line(record: AssetRecord, kind: str, text: str) -> dict[str, str]:
    line = {"id": record.id, "name": record.name, "file": record.file, kind: text}
    return {key: plain_text(value) for key, value in line.items()}


def _write_lines(output: Output, name: str, lines: list[dict[str, str]]) -> None:
    """One JSON object a line; an empty file if there is none."""
    with output.file(name) as file:
        file.writelines(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
