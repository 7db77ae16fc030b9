"""Index and manifest for foreign shards: python -m fieldforge.data.index FOLDER [--schema sample].

The shards are plain tars in WebDataset layout, named `<split>-<number>.tar`. Their samples hold the fields of the
schema; the command checks each sample. With `--check` it compares the shards with an existing manifest, byte for byte.
"""

import argparse
import hashlib
import json
import re
import sys
import tarfile
import zlib
from dataclasses import asdict
from pathlib import Path

from webdataset.tariterators import base_plus_ext

from fieldforge.data.manifest import Manifest, ShardEntry, ShardIndex, read_manifest, settings_sha256, write_manifest
from fieldforge.data.schema import Schema
from fieldforge.data.schemas import SCHEMAS
from fieldforge.data.tar_members import split_members
from fieldforge.data.writer import shard_entry
from fieldforge.errors import UserError
from fieldforge.storage.files import atomic_file
from fieldforge.storage.store import BadShardError
from fieldforge.terminal import quantity, result, say

SHARD_NAME = re.compile(r"([A-Za-z0-9_]+)-\d+\.tar")
SETTINGS = {"indexed": "written by others"}


def index_folder(folder: Path, schema: Schema) -> Manifest:
    """Checks every sample of every `<split>-<number>.tar`, writes the indexes and, last, the manifest.

    UserError, naming shard and sample, for anything that the stream could not read.
    """
    shards = sorted(path for path in folder.glob("*.tar") if SHARD_NAME.fullmatch(path.name))
    if not shards:
        raise UserError(
            f"{folder}: holds no shard named like train-000000.tar; rename the tars to <split>-<number>.tar."
        )
    return write_manifest(folder, schema, SETTINGS, [index_shard(path, schema) for path in shards])


def index_shard(path: Path, schema: Schema) -> ShardEntry:
    """Writes the index of one shard after checking its samples."""
    keys, offsets, members = _places(path)
    checksums, digest = _checked(path, schema, keys, offsets)
    split = path.name.rpartition("-")[0]
    index = ShardIndex(
        schema.name, schema.version, settings_sha256(schema, SETTINGS), split, len(keys), members,
        path.stat().st_size, digest, tuple(keys), tuple(offsets), tuple(checksums),
    )  # fmt: skip
    payload = json.dumps(asdict(index), sort_keys=True).encode()
    entry = shard_entry(path.name, index, payload)
    with atomic_file(path.with_name(entry.index_name)) as index_file:
        index_file.write(payload)
    return entry


def _places(path: Path) -> tuple[list[str], list[int], int]:
    """Keys of a shard's samples, the first byte of each and the end of the last, and their number of members.

    UserError for a file that is no shard.
    """
    keys: list[str] = []
    offsets: list[int] = []
    members = end = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, suffix = base_plus_ext(member.name)
                if not key or not suffix or not member.isfile() or "/" in member.name:
                    raise UserError(
                        f"{path}, member {member.name}: is not a file named <key>.<field> at the top of the shard; "
                        "write it as such."
                    )
                if not keys or keys[-1] != key:
                    keys.append(key)
                    offsets.append(member.offset)
                members += 1
                end = (
                    member.offset_data + (member.size + tarfile.BLOCKSIZE - 1) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
                )
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path}: is not a whole tar file ({error}); write it again.") from error
    if len(set(keys)) != len(keys):
        raise UserError(f"{path}: the members of a sample are not beside each other, or a key comes twice; sort them.")
    if not keys:
        raise UserError(f"{path}: holds no sample; remove it.")
    return keys, [*offsets, end], members


def _checked(path: Path, schema: Schema, keys: list[str], offsets: list[int]) -> tuple[list[int], str]:
    """CRC-32 of each sample and SHA-256 of the shard. UserError for a sample that is not what the schema says."""
    checksums = []
    with open(path, "rb") as file:
        for key, start, stop in zip(keys, offsets[:-1], offsets[1:], strict=True):
            file.seek(start)
            block = file.read(stop - start)
            if len(block) != stop - start:
                raise UserError(f"{path}, sample '{key}': is cut off; write the shard again.")
            checksums.append(zlib.crc32(block))
            try:
                schema.check(
                    key, schema.decode({name: bytes(part) for name, part in split_members(block, key).items()})
                )
            except ValueError as error:
                raise UserError(f"{path}: {error}") from error
        file.seek(0)
        return checksums, hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(folder: Path) -> Manifest:
    """Compares every shard and index with the manifest, byte for byte. BadShardError names the first that differs."""
    manifest = read_manifest(folder)
    for entry in manifest.shards:
        for name, sha256 in ((entry.name, entry.sha256), (entry.index_name, entry.index_sha256)):
            path = folder / name
            if not path.is_file():
                raise BadShardError(f"{path}: is missing, but the manifest lists it; restore or prepare it again.")
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise BadShardError(f"{path}: is not what the manifest says; restore or prepare it again.")
    return manifest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fieldforge.data.index", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--schema", choices=sorted(SCHEMAS), default="sample")
    parser.add_argument("--check", action="store_true", help="compare the shards with the manifest that is there")
    options = parser.parse_args(arguments)
    try:
        manifest = (
            check_folder(options.folder) if options.check else index_folder(options.folder, SCHEMAS[options.schema])
        )
    except UserError as error:
        say(f"error: {error}")
        return 2
    samples = sum(entry.samples for entry in manifest.shards)
    result(f"{options.folder}: {quantity(len(manifest.shards), 'shard')}, {quantity(samples, 'sample')}, all sound")
    return 0


if __name__ == "__main__":
    sys.exit(main())
