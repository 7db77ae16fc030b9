"""What model hubs read of a model: the YAML header of its card, and `config.json`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from fieldforge.publishing.assets import Asset, licences
from fieldforge.stages.model_hub import LIBRARY
from fieldforge.training.processes.published import FORMAT

KNOWN_LICENCES = frozenset({"cc0-1.0", "cc-by-3.0", "cc-by-4.0", "apache-2.0", "mit"})
"""Identifiers of hubs, in small letters those of SPDX."""
TASKS = {("caption", "3d"): "text-to-3d", ("image", "3d"): "image-to-3d", ("caption", "image"): "text-to-image"}
TASKS |= {("image", "image"): "image-to-image", ("first_frame", "video"): "image-to-video"}
"""What a model reads and what it makes → the task by a hub's name."""
WITHOUT = {"image": "unconditional-image-generation"}


def card_header(medium: str, reads: Collection[str], assets: Sequence[Asset]) -> str:
    """The header, from `---` to `---`.

    Args:
        medium: of the outputs, see `Domain.medium`.
        reads: keys of the model's sources.
        assets: of the training split.
    """
    task = next((task for (key, kind), task in TASKS.items() if key in reads and kind == medium), WITHOUT.get(medium))
    facts = {"library_name": LIBRARY, **licence_of(assets), **({"pipeline_tag": task} if task else {})}
    tags = [tag for tag in (LIBRARY, medium, "diffusion", "neural-field") if tag]
    return f"---\n{OmegaConf.to_yaml(OmegaConf.create({**facts, 'tags': tags}))}---\n\n"


def licence_of(assets: Sequence[Asset]) -> dict[str, str]:
    """The licence of the training assets where all share a known one; else a link to the list of all."""
    every = {licence.lower() for licence in licences(assets)}
    if len(every) == 1 and every <= KNOWN_LICENCES:
        return {"license": every.pop()}
    return {"license": "other", "license_name": "licences-of-the-training-assets", "license_link": "assets.csv"}


def library_file(label: Mapping[str, Any]) -> dict[str, Any]:
    """Content of `config.json`: library, format and label. The label that loads is the one beside the weights."""
    plain = {key: without_weights(value) for key, value in label.items() if not key.endswith("_state_dict")}
    return {"library_name": LIBRARY, "format": FORMAT, "label": plain}


def without_weights(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: without_weights(item) for key, item in value.items() if not key.endswith("_state_dict")}
