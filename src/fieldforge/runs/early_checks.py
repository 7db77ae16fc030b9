"""What is wrong with a configuration that can be known before torch is imported, which takes many seconds.

The bodies of the commands check the same values again with all others: they are called by other programs too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from omegaconf import DictConfig

from fieldforge.configuration.settings import check_plain_fields, read_settings
from fieldforge.configuration.values import check_finite, check_keys, check_name
from fieldforge.errors import UserError
from fieldforge.ranges import Count, GridCells, Pixels, Range, Seed, Whole

TRAINING_KEYS: dict[str, Any] = {
    "seed": Seed,
    "output_dir": str,
    "autoencoder_run": str | None,
    "continue_from": str | None,
    "init_from": str | None,
    "teacher": str,
    "monitor.log_every": Count,
    "monitor.validate_every": Count,
    "monitor.validation_batches": Whole,
    "monitor.pictures.count": Count,
    "monitor.pictures.size": Pixels,
    "monitor.pictures.resolution": GridCells | None,
    "plan.show": bool | Literal["json", "text"],
    "prior.source": str,
}
PREPARATION_KEYS: dict[str, Any] = {"seed": Seed, "workers": Annotated[int, Range(1, 4096)] | None, "output": str}


def check_training_keys(config: DictConfig) -> None:
    """UserError for the first of the keys beside all blocks that is of the wrong kind, or out of range."""
    check_finite(config)
    check_keys(config, TRAINING_KEYS)
    for key in ("name", "autoencoder_name"):
        if key in config:
            check_name(key, config[key])
    if not str(config.output_dir).strip():
        raise UserError("output_dir= is empty: give the folder that runs lie in")


def check_sampling_keys(config: DictConfig) -> None:
    """UserError for the first plain key that is of the wrong kind, or out of range."""
    from fieldforge.asking.settings import SamplingSettings

    check_plain_fields(config, SamplingSettings)


def check_evaluation_keys(config: DictConfig) -> None:
    """UserError for the first setting that will not do."""
    from fieldforge.evaluation.settings import EvaluationSettings

    read_settings(config, EvaluationSettings)


def check_preparation_keys(config: DictConfig) -> None:
    """UserError where no work is chosen, and for the first plain key of the wrong kind, or out of range."""
    if config.embed is not None:
        if not config.get("shards"):
            raise UserError(
                "embed= needs the shards to embed: give shards=shards/furniture, the output of an earlier prepare"
            )
        return
    if "_target_" not in (config.get("source") or {}):
        raise UserError(
            "there is nothing to prepare: choose what to make shards of (source=furniture, or source=folder "
            "source.path=<your meshes>), or give embed= with shards="
        )
    check_finite(config)
    check_keys(config, PREPARATION_KEYS)
    if not config.output.strip():
        raise UserError("output= is empty: give a folder for the shards")
