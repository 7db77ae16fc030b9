"""Configurations of sample.py and compare.py, composed in a process that goes on, as that of FiftyOne's App."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fieldforge.configuration.stored_config import literal
from fieldforge.errors import UserError
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.mistakes import explain
from fieldforge.stages.pretrained import WORD

SEARCH = f"hydra.searchpath=[file://{CONFIGS}]"
HOME = CONFIGS.parent
"""Where commands are usually started; FiftyOne's App and its delegated operations run in folders of their own."""
_hydra = threading.Lock()  # its state is the process's, and the App runs operators in threads


def samplers() -> list[str]:
    """The choices of `sampler=`."""
    return sorted(path.stem for path in (CONFIGS / "sampler").glob("*.yaml"))


def at_home(place: str, there: bool = True) -> str:
    """A relative path as one below `HOME`; `there`: if there is something, else the place as it is.

    Words for the repository's weights stay words.
    """
    path = HOME / place
    is_word = there and place.partition("/")[0] == WORD
    return place if is_word or (there and not path.exists()) else str(path)


def configured(command: str, values: Mapping[str, Any], sampler: str | None = None) -> DictConfig:
    """The configuration of `sample` or `compare`.

    Args:
        command: its name.
        values: dotted keys and their values, plain ones, in which nothing is interpolated.
        sampler: a choice of `sampler=`; None: the run's own.

    Raises:
        UserError: a key or a choice that the command does not have.
    """
    choices = [] if sampler is None else [SEARCH, f"sampler={sampler}"]
    with sentences():
        with _hydra, initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
            config = compose(command, choices)
        for key, value in values.items():
            OmegaConf.update(config, key, literal(value))
    return config


@contextmanager
def sentences() -> Iterator[None]:
    """Turns mistakes in what was asked for, and a lack of memory or disk, into a UserError of one sentence."""
    try:
        yield
    except (UserError, HydraException, OmegaConfBaseException, OSError, RuntimeError, MemoryError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error
