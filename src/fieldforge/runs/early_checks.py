"""Checks of a configuration before the import of torch, which takes many seconds.

The bodies of the commands check all values again, as other programs call them too.
"""

from __future__ import annotations

from typing import Annotated, Any

from omegaconf import DictConfig

from fieldforge.configuration.build import build
from fieldforge.configuration.settings import check_plain_fields, read_settings
from fieldforge.configuration.values import check_finite, check_keys
from fieldforge.errors import UserError
from fieldforge.ranges import Range, Seed

STAGE_KEYS: dict[str, Any] = {"teacher": str, "prior.source": str}
"""Keys of one stage each; absent without that stage."""
PREPARATION_KEYS: dict[str, Any] = {"seed": Seed, "workers": Annotated[int, Range(1, 4096)] | None, "output": str}


def check_training_keys(config: DictConfig) -> None:
    """UserError for the first plain key of train.py, or key of `plan`, with a value of a wrong type or out of range."""
    from fieldforge.stages.settings import RunSettings

    read_settings(config, RunSettings)
    build(config, "plan")
    check_keys(config, STAGE_KEYS)


def check_sampling_keys(config: DictConfig) -> None:
    """UserError for the first plain key of sample.py, or key of `mesh`, of a wrong type or out of range."""
    from fieldforge.asking.settings import SamplingSettings

    check_plain_fields(config, SamplingSettings)
    build(config, "mesh")


def check_app_keys(config: DictConfig) -> None:
    """UserError for the first plain key of app.py, or key of `mesh`, of a wrong type or out of range."""
    from fieldforge.app.settings import AppSettings, with_fixed
    from fieldforge.asking.settings import SamplingSettings

    check_plain_fields(config, AppSettings)
    check_plain_fields(with_fixed(config), SamplingSettings)
    build(config, "mesh")


def check_evaluation_keys(config: DictConfig) -> None:
    """UserError for the first invalid setting of evaluate.py."""
    from fieldforge.evaluation.settings import EvaluationSettings

    read_settings(config, EvaluationSettings)


def check_comparison_keys(config: DictConfig) -> None:
    """UserError for the first invalid setting of compare.py."""
    from fieldforge.evaluation.settings import ComparisonSettings

    read_settings(config, ComparisonSettings)


def check_export_keys(config: DictConfig) -> None:
    """UserError for the first invalid setting of export.py."""
    from fieldforge.exchange.settings import ExportSettings

    read_settings(config, ExportSettings)


def check_preparation_keys(config: DictConfig) -> None:
    """UserError without a source or `embed=`, or for the first plain key of a wrong type or out of range."""
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
