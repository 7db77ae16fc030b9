"""Checks additions of a command line, `+key=value`: the program must read the key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fieldforge.errors import UserError
from fieldforge.runs.near_keys import near_keys

OPEN = frozenset({"callbacks", "logger", "parts", "phases", "space", "transforms"})
"""Blocks with names of the user's choice as keys."""


def check_additions(config_name: str, configs: Path) -> None:
    """Check every `+key=value` of the running Hydra command.

    `configuration.build` checks the keys of blocks with a `_target_`, as it knows the arguments.

    Args:
        config_name: name of the primary configuration.
        configs: folder of all configurations.

    Raises:
        UserError: a key that the program does not read.
    """
    typed = HydraConfig.get().overrides
    overrides = list(typed.task)
    added = {override: _path(override) for override in overrides if override.startswith("+") and not _chooses(override)}
    if not added:
        return
    places = [override for override in typed.hydra if override.startswith("hydra.searchpath")]
    before = hydra.compose(config_name, [*places, *(override for override in overrides if override not in added)])
    for path in added.values():
        parts = path.split(".")
        if not _has_place(before, parts) and not any(_has_place(block, parts) for block in _experiments(configs)):
            near = near_keys(before, parts[-1]) if len(parts) == 1 else []
            meant = f"did you mean {' or '.join(near)}? (`--cfg job` lists all keys)" if near else "leave it out"
            raise UserError(f"+{path}= adds a key that nothing reads: {meant}")


def _path(override: str) -> str:
    return override.lstrip("+").partition("=")[0]


def _chooses(override: str) -> bool:
    """Whether the override adds a choice of a group: `+embedded=views`, `+threshold@sampler.threshold=dynamic`."""
    group = _path(override).partition("@")[0]
    return bool(GlobalHydra.instance().config_loader().get_group_options(group))


def _has_place(node: Any, parts: Sequence[str]) -> bool:
    """Whether the path `parts` is valid below `node`: it exists, or leads into a block that is open, built or empty.

    An empty block takes additions: `domain` of evaluate.py overrides keys of the run.
    """
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig) or "_target_" in node or (depth and parts[depth - 1] in OPEN):
            return True
        if depth and not node:
            return True
        if part not in node:
            return False
        node = None if OmegaConf.is_missing(node, part) or OmegaConf.is_interpolation(node, part) else node[part]
    return True


@cache
def _experiments(configs: Path) -> list[Any]:
    """The files of experiments and stages, which add keys to the configuration, such as the settings of a prior."""
    files = [file for folder in ("experiment", "stage") for file in sorted((configs / folder).glob("*.yaml"))]
    return [OmegaConf.load(file) for file in files]
