"""Blocks of a configuration as they determine a result: by what lies somewhere, not by where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.data.manifest import MANIFEST_NAME, read_manifest


def without_places(values: Any) -> Any:
    """Plain values, in which `shards`, the fingerprint in a manifest, stands for each `root` that names its folder."""
    if isinstance(values, Mapping):
        return dict(_without_place(key, value) for key, value in values.items())
    return [without_places(value) for value in values] if isinstance(values, list | tuple) else values


def _without_place(key: str, value: Any) -> tuple[str, Any]:
    if key == "root" and isinstance(value, str) and (Path(value) / MANIFEST_NAME).is_file():
        return "shards", read_manifest(value).fingerprint
    return key, without_places(value)


def conditions(block: Mapping[str, Any], conditioner: Conditioner) -> dict[str, Any]:
    """What a model is conditioned on: `conditioner`, its plain block, and `encoders`, which are known by what they do.

    Where an encoder's weights lie, or by which name they were found, stands in the block alone and is left out.
    """
    own = {key: value for key, value in block.items() if key != "clip"}
    if "parts" in own:
        own["parts"] = {name: _without_encoder(part) for name, part in own["parts"].items()}
    return {"conditioner": own, "encoders": conditioner.fingerprint()}


def _without_encoder(part: Any) -> Any:
    return {key: value for key, value in part.items() if key != "encoder"} if isinstance(part, Mapping) else part
