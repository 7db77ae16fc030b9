"""Body of prepare.py: builds source and recipe, and runs the pipeline."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from fieldforge.configuration.build import build
from fieldforge.engines.engine import Engine, LocalEngine
from fieldforge.errors import UserError
from fieldforge.preparation.pipeline import CONTACT_SHEET_NAME, REJECTED_NAME, AssetSource, prepare
from fieldforge.preparation.recipe import Recipe
from fieldforge.runs.early_checks import check_preparation_keys
from fieldforge.terminal import quantity

log = logging.getLogger(__name__)


def run_preparation(config: DictConfig) -> None:
    """Prepare `config.source` into shards at `config.output` and report counts; with `config.embed` embed shards.

    Raises:
        UserError: an invalid configuration, an unavailable source, or an output folder with other content.
    """
    check_preparation_keys(config)
    if config.embed is not None:
        from fieldforge.runs.embed import run_embedding  # here, as it imports Lightning, which assets have no use for

        run_embedding(config)
        return
    source: AssetSource = build(config, "source")
    recipe: Recipe = build(config, "preparation")
    engine: Engine = build(config, "engine")
    if config.workers is not None and not isinstance(engine, LocalEngine):
        raise UserError("workers= counts processes of this machine alone: leave it out beside another engine=")
    output = config.output.rstrip("/") or "/"
    report = prepare(source, recipe, config.seed, output, engine)
    splits = ", ".join(f"{count} {split}" for split, count in report.manifest.extra["splits"].items())
    log.info(
        "%s: %s; %d rejected (%s)",
        quantity(report.assets, "asset"),
        splits,
        report.rejected,
        f"{output}/{REJECTED_NAME}",
    )
    if report.was_complete:
        log.info("all of them were prepared before: nothing was left to do")
    elif report.cpu_seconds is None:
        log.info("all of them were prepared before: only the shards were left to write")
    else:
        log.info("%.2f CPU-seconds an asset, %s", report.cpu_seconds, engine.about() or f"workers={engine.processes}")
    log.info("shards in %s; look at %s/%s", output, output, CONTACT_SHEET_NAME)
