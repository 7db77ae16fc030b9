"""Published models: half-precision weights in a safetensors file, whose header holds the label as JSON.

A run's `model.ckpt` is for this machine: it holds full precision and local paths. A published model is for others:
small, without local paths, and in a format that other programs read (safetensors).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

from fieldforge.errors import UserError
from fieldforge.storage.files import atomic_file

SUFFIX = ".safetensors"
FORMAT = "fieldforge-model-1"
LABEL, DIGEST = "fieldforge", "sha256"
"""Keys of the header's metadata."""
INNER = "autoencoder"
"""The model inside of another one: its tensors have this prefix."""
LARGEST = 50 * 10**6
"""Bytes of a file, above which INNER gets one of its own beside it: hosts of repositories warn of larger ones."""
DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def write_published(content: Mapping[str, Any], path: Path) -> list[Path]:
    """Write a model in the layout of a checkpoint: a label of plain values, which holds INNER's too, and `state_dict`.

    Returns the files: `path`, and INNER's beside it where `path` would be larger than `LARGEST`. The checksum in `path`
    covers both.

    Raises:
        UserError: it cannot be written; what was there is untouched.
    """
    label = dict(content["fieldforge"])
    tensors = dict(content["state_dict"])
    tensors |= {f"{INNER}.{name}": value for name, value in label.pop(f"{INNER}_state_dict").items()}
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    apart = sum(value.nbytes for value in tensors.values()) > LARGEST
    text = json.dumps({**label, "format": FORMAT, "apart": apart}, sort_keys=True)
    header = {LABEL: text, DIGEST: digest(text, tensors)}
    inner = {name: tensors.pop(name) for name in sorted(tensors) if apart and name.startswith(f"{INNER}.")}
    files = [(path, tensors, header)] + ([(_beside(path), inner, {})] if apart else [])
    for place, values, about in reversed(files):
        with atomic_file(place) as file:
            file.write(save(values, about))
    return [place for place, _, _ in files]


def _beside(path: Path) -> Path:
    return path.with_name(INNER + SUFFIX)


def read_published(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The model in a file, in the layout of a checkpoint; half-precision weights become float32.

    Weights have values even during a rehearsal, as the checksum needs them.

    Raises:
        UserError: missing, cut, altered, of another format, or with values of a strange type.
    """
    with unset_fake_temporarily():
        return _read(path, map_location)


def _read(path: Path, map_location: Any) -> dict[str, Any]:
    text, checksum, tensors = _opened(path)
    try:
        label = json.loads(text)
    except (ValueError, RecursionError):
        label = None
    if not isinstance(label, dict) or label.get("format") != FORMAT:
        raise UserError(f"{path} is no published model of this version of fieldforge: use another copy of that file")
    if label.pop("apart", False):
        tensors |= _opened(_beside(path))[2]
    strange = next((name for name, value in tensors.items() if value.dtype not in DTYPES), None)
    if strange is not None:
        raise UserError(f"{path}: {strange} holds {tensors[strange].dtype}, no weights: use another copy of that file")
    if checksum != digest(text, tensors):
        raise UserError(f"{path} is damaged (its checksum is of other values): use another copy of that file")
    widened = {name: _widened(value).to(map_location) for name, value in tensors.items()}
    inner = {name: value for name, value in widened.items() if name.startswith(f"{INNER}.")}
    label[f"{INNER}_state_dict"] = {name.removeprefix(f"{INNER}."): value for name, value in inner.items()}
    return {"fieldforge": label, "state_dict": {name: value for name, value in widened.items() if name not in inner}}


def _opened(path: Path) -> tuple[str, str, dict[str, Tensor]]:
    """Label, checksum and tensors of a file. UserError where it is not whole."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except FileNotFoundError as error:
        raise UserError(f"there is no published model {path}: correct the path") from error
    except Exception as error:  # the library's own, and what torch raises for sizes and types that it does not know
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}): use another copy of that file") from error
    return about.get(LABEL, ""), about.get(DIGEST, ""), tensors


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a label and its tensors by name; safetensors itself has no checksum."""
    checksum = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        checksum.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        checksum.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return checksum.hexdigest()


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
