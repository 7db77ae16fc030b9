"""Sweeps started by Hydra, with its configuration, command line and launcher."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf, open_dict

from fieldforge.sweeps.product import Product
from fieldforge.sweeps.settings import SearchSettings
from fieldforge.sweeps.space import Dimension, dimension_of, parse_space
from fieldforge.sweeps.study import Study
from fieldforge.sweeps.sweep import Proposals, Sweep, write_settings
from fieldforge.sweeps.trial_table import Table
from fieldforge.terminal import result

log = logging.getLogger(__name__)
# What neither determines a result nor a proposal: a sweep goes on where these differ.
_FREE = ("output_dir", "trainer", "logger", "callbacks", "search.trials", "search.parallel", "search.trial")
_FREE_OF_DATA = ("cache", "num_workers", "prefetch_batches")


def sweep(hydra: Any, arguments: Sequence[str]) -> Table:
    """Run the sweep that the command line asks for, print its table, and say where it lies.

    Args:
        hydra: the sweeper that Hydra has made: its context, task and configuration.
        arguments: the command line without what is Hydra's own.

    Raises:
        UserError: a mistake in the search, or all trials failed.
        Interrupted: a signal stopped it; the same command goes on.
    """
    config: DictConfig = hydra.config
    configure_log(config.hydra.job_logging, config.hydra.verbose)
    settings = SearchSettings.of(config)
    overrides = OverridesParser.create(config_loader=hydra.hydra_context.config_loader).parse_overrides(list(arguments))
    fixed = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
    on_command_line = {o.get_key_element(): dimension_of(o) for o in overrides if o.is_sweep_override()}
    space = {**parse_space(settings.space), **on_command_line}
    name, determining = sweep_name(config, space, settings.ranking)
    directory = (Path(config.get("output_dir", "outputs")) / "sweeps" / name).absolute()
    write_settings(directory, determining)

    def propose() -> Proposals:
        return Study(directory, settings, space) if settings.space else Product(directory, space)

    launcher_name = str(config.hydra.runtime.choices["hydra/launcher"])
    launcher = launcher_of(hydra, launcher_name, directory)
    log.info("sweep: in %s", directory)
    table = Sweep(
        directory,
        settings.objective,
        settings.ranking,
        [text for text in fixed if not text.startswith("search.trial=")],
        parallel=settings.parallel,
        in_process=launcher_name == "basic",
        check=lambda jobs: Sweeper.validate_batch_is_legal(hydra, jobs),
        launch=lambda jobs, first: launcher.launch(jobs, initial_job_idx=first),
    ).run(propose)
    result("", *table.markdown().split("\n"), "", *table.summary().split("\n"), f"{directory / 'table.md'}")
    return table


def launcher_of(hydra: Any, name: str, directory: Path) -> Launcher:
    """Hydra's launcher of that name, which leaves its own files in `directory`."""
    with open_dict(hydra.config.hydra):
        hydra.config.hydra.sweep.dir = str(directory)
    launcher: Launcher = Plugins.instance().instantiate_launcher(
        hydra_context=hydra.hydra_context, task_function=hydra.task_function, config=hydra.config
    )
    if name.startswith("submitit"):
        import submitit  # noqa: F401  (sets its handlers, which would say everything three times, and on stdout)

        logging.getLogger("submitit").handlers.clear()
    return launcher


def sweep_name(config: DictConfig, space: Mapping[str, Dimension], ranking: str) -> tuple[str, dict[str, Any]]:
    """A deterministic name of the sweep, and the values behind it: all that results or proposals depend on.

    A sweep without a swept key is one trial, which a launcher may run elsewhere.
    """
    choices = config.hydra.runtime.choices
    plain = OmegaConf.create({key: config._get_node(key) for key in config if key != "hydra"})
    values = OmegaConf.to_container(plain, resolve=False)
    assert isinstance(values, dict)
    if values.get("continue_from") is None:
        values.pop("continue_from", None)  # sweeps are older than this key
    values["search"]["direction"] = ranking
    for path in [*_FREE, *(f"{data}.{key}" for data in ("data", "latent_data") for key in _FREE_OF_DATA)]:
        *blocks, last = path.split(".")
        block: Any = values
        for key in blocks:
            block = block.get(key) if isinstance(block, dict) else None
        if isinstance(block, dict):
            block.pop(last, None)
    determining = {"config": values, "space": {key: repr(dimension) for key, dimension in space.items()}}
    text = json.dumps(determining, sort_keys=True, default=str)
    parts = [choices.get("experiment"), choices.get("search")]
    label = "-".join(str(part) for part in parts if part not in (None, "none"))
    return f"{label or 'sweep'}-{hashlib.sha256(text.encode()).hexdigest()[:12]}", determining
