"""Finds the damaged file in an encoder's folder: libraries report damage, but seldom the file."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def damaged_file(folder: Path) -> str | None:
    """Name of the first file in a folder of `save_pretrained` whose content contradicts its ending, or None."""
    for path in sorted(folder.iterdir()):
        try:
            _read(path)
        except Exception:  # of three libraries, one of which raises bare ones
            return path.name
    return None


def _read(path: Path) -> None:
    if path.name == "tokenizer.json":
        from tokenizers import Tokenizer

        Tokenizer.from_file(str(path))
    elif path.suffix == ".json":
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) and path.name.endswith("config.json"):
            raise ValueError("no object")
    elif path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            file.keys()
    elif path.suffix in (".bin", ".pt", ".pth"):
        torch.load(path, map_location="meta", weights_only=True, mmap=True)
