"""Checked settings of `configs/search/*.yaml`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fieldforge.errors import UserError
from fieldforge.metrics.measures import MEASURES

DIRECTIONS = {"higher": "maximize", "lower": "minimize"}
PREFIX = "judge/"
"""Of the metrics that `fieldforge.training.callbacks.judges` logs (not imported: it loads torch)."""


@dataclass(frozen=True)
class SearchSettings:
    """A sweep's settings.

    Args:
        objective: name of a logged metric of the last stage; its last value ranks the trials.
        direction: "minimize" or "maximize"; None: as the measure says (`direction_of`).
        parallel: trials handed to the launcher at once.
        trial: path of one job's record; the sweep fills it in.
        trials: number of finished or pruned trials at the end; None without a space, and for a whole grid.
        seed: of the sampler.
        sampler: block of an Optuna sampler (partial, it gets the seed), or of `Grid`.
        pruner: block of an Optuna pruner.
        space: key of the configuration → its range or choices (see `fieldforge.sweeps.space`); empty: no search.
    """

    objective: str
    direction: str | None = None
    parallel: int = 1
    trial: str | None = None
    trials: int | None = None
    seed: int = 0
    sampler: Mapping[str, Any] | None = None
    pruner: Mapping[str, Any] | None = None
    space: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.objective, str) or not self.objective:
            raise UserError(f"search.objective = {self.objective!r} must name a logged metric, such as heldout/loss")
        direction_of(self.objective, self.direction)
        for name, least in (("parallel", 1), ("trials", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is None and name == "trials":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"search.{name} = {value!r} must be a whole number of at least {least}: correct it")
        if not isinstance(self.space, Mapping):
            raise UserError(f"search.space = {self.space!r} must be a block of key: range or choices")
        if self.space and (self.sampler is None or self.pruner is None):
            raise UserError("a search with a space needs a sampler and a pruner: begin its file with defaults: [base]")

    @property
    def ranking(self) -> str:
        """ "minimize" or "maximize"."""
        return direction_of(self.objective, self.direction)

    @staticmethod
    def of(config: DictConfig) -> SearchSettings:
        """From the block `search` of a configuration.

        Raises:
            UserError: an unknown key, or a wrong value; the sentence names the key.
        """
        missing = [str(key) for key in config.search if OmegaConf.is_missing(config.search, key)]
        if missing:
            raise UserError(
                f"the config key search.{missing[0]} has no value: write it into the file in configs/search"
            )
        values = OmegaConf.to_container(config.search, resolve=True)
        assert isinstance(values, dict)
        known = [entry.name for entry in fields(SearchSettings)]
        for key in map(str, values):
            if key not in known:
                raise UserError(f"unknown config key search.{key}: there are {', '.join(known)}")
        settings = SearchSettings(**{str(key): value for key, value in values.items()})
        check_judged(config, settings.objective)
        return settings


def direction_of(objective: str, direction: str | None) -> str:
    """Which way trials are ranked: `direction`, or else that of the measure; other metrics are minimised.

    Raises:
        UserError: no direction, one against the measure's own, or none for a measure whose best value lies between.
    """
    if direction not in (None, "minimize", "maximize"):
        raise UserError(f"search.direction = {direction!r} must be minimize or maximize: correct it, or leave it out")
    measure = MEASURES.get(objective.removeprefix(PREFIX)) if objective.startswith(PREFIX) else None
    if measure is None:
        return direction or "minimize"
    own = DIRECTIONS.get(measure.better)
    if direction is None and own is None:
        raise UserError(
            f"search.objective = {objective} is best somewhere between: say search.direction=, or take another"
        )
    if own is not None and direction not in (None, own):
        raise UserError(f"search.direction = {direction} ranks {objective} from its worst on: leave it out")
    return direction or str(own)


def check_judged(config: DictConfig, objective: str) -> None:
    """UserError for a measure of held-out samples that nothing measures, or whose name is unknown."""
    if not objective.startswith(PREFIX):
        return
    if not (config.get("callbacks") or {}).get("judges"):
        raise UserError(f"search.objective = {objective} is measured by callbacks=judges: add it")
    foreign = not str(OmegaConf.select(config, "domain._target_") or "").startswith("fieldforge.")
    name = objective.removeprefix(PREFIX)
    if name not in MEASURES and not foreign:
        near = difflib.get_close_matches(name, MEASURES, 3, 0.5) or list(MEASURES)
        raise UserError(
            f"search.objective = {objective} is not measured: choose one of {', '.join(PREFIX + one for one in near)}"
        )
