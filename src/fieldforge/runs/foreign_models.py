"""Weights of others where a run is taken: `run=openai/shap-e`, `run=diffusers:<folder>`, `init_from=openai:<file>`."""

from __future__ import annotations

import logging
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fieldforge.exchange.shap_e_files import find_files, is_foreign
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.directory import MODEL
from fieldforge.storage.files import MACHINE, writing

log = logging.getLogger(__name__)
KEYS = ("run", "init_from", "autoencoder_run")


def with_local_models(config: DictConfig) -> DictConfig:
    """The configuration with runs of this machine in the place of weights of others, which become such runs once.

    Args:
        config: of a command. Its keys `KEYS` are read, as far as it has them.

    Raises:
        UserError: see `find_files` and `write_run`.
    """
    foreign = [key for key in KEYS if isinstance(config.get(key), str) and is_foreign(config[key])]
    if not foreign:
        return config
    config = config.copy()
    for key in foreign:
        config[key] = str(local_run(config[key], str(config.output_dir)))
    return config


def local_run(word: str, output_dir: str) -> Path:
    """The folder of the run below `output_dir` that `word` stands for; written where it is missing."""
    from fieldforge.exchange.shap_e_run import run_folder, write_run  # (with torch: only where weights are foreign)
    from fieldforge.exchange.shap_e_sizes import size_settings

    files = find_files(word)
    folder = run_folder(files, output_dir)
    if not (folder / MODEL).is_file():
        log.info("%s is brought into the form of a run, %s", word, folder)
        sizes = [f"{key}={value}" for key, value in size_settings(files).items()]
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            experiment = compose("train", [f"experiment=shap_e_{files.kind}", *sizes])
        with writing(folder, MACHINE):
            write_run(files, experiment, folder)
    return folder
