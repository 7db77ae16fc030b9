"""A search with Optuna: proposals, results and pruning, resumable through Optuna's journal."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra.utils
from hydra.errors import InstantiationException

from fieldforge.errors import UserError, install_command
from fieldforge.sweeps.records import FINISHED, PRUNED, Record, record_path
from fieldforge.sweeps.settings import SearchSettings, direction_of
from fieldforge.sweeps.space import Dimension, as_text

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
JOURNAL = "journal.log"
_NAME = "study"


@dataclass(frozen=True)
class Grid:
    """Grid search in place of a sampler: every combination of the space, in order."""

    seed: int = 0  # (samplers have one)


@dataclass(frozen=True)
class Trial:
    """A proposed trial: number in the study, values by key."""

    number: int
    values: Mapping[str, Any]

    @property
    def overrides(self) -> tuple[str, ...]:
        """The trial's overrides for the command line; choices are such texts already."""
        return tuple(
            f"{key}={value if isinstance(value, str) else as_text(value)}" for key, value in self.values.items()
        )


class Study:
    """Proposes trials and records their results.

    Args:
        directory: with the journal and the records.
        settings: of the search.
        space: what each key may be.

    Raises:
        UserError: Optuna is not installed, or sampler, pruner or space do not fit together.
    """

    def __init__(self, directory: Path, settings: SearchSettings, space: Mapping[str, Dimension]):
        self.directory, self.settings, self.space = directory, settings, space
        directory.mkdir(parents=True, exist_ok=True)
        self._distributions = {key: dimension.distribution() for key, dimension in _with_optuna(space).items()}
        self._study = _open(directory, settings.ranking)
        earlier = len(self._study.get_trials(deepcopy=False))
        # Another process goes on with other random numbers: with the same ones it would propose the same again.
        sampler = _build("search.sampler", settings.sampler, seed=settings.seed + earlier)
        self._give_up_half_proposed()
        grid = isinstance(sampler, Grid)
        if grid:
            self._enqueue_grid()
        else:
            self._study.sampler = sampler
        self._continued = [self._trial(frozen) for frozen in self._in_state("RUNNING")]
        settled = self._in_state("COMPLETE", "PRUNED")
        self._by_overrides = {trial.overrides: trial for trial in map(self._trial, settled)}
        if grid:
            self._quota = len(self._in_state("WAITING"))
        elif settings.trials is None:
            raise UserError("search.trials has no value: say how many trials to run")
        else:
            self._quota = max(0, settings.trials - len(settled) - len(self._continued))
        self._twins: dict[int, list[Trial]] = {}

    def next(self, most: int) -> list[Trial]:
        """Up to `most` trials to run: first interrupted ones, then new ones; an empty list ends the study.

        A repeated proposal is not trained again; it gets the earlier result.
        """
        batch, self._continued = self._continued[:most], self._continued[most:]
        self._by_overrides.update({trial.overrides: trial for trial in batch})
        while len(batch) < most and self._quota > 0:
            self._quota -= 1
            proposal = self._study.ask(self._distributions)
            trial = Trial(proposal.number, {key: proposal.params[key] for key in self._distributions})
            twin = self._by_overrides.setdefault(trial.overrides, trial)
            if twin is trial:
                batch.append(trial)
                continue
            record = Record.read(record_path(self.directory, twin.number))
            if record is None:
                self._twins.setdefault(twin.number, []).append(trial)
            else:
                self._tell_twin(trial, twin, record)
        return batch

    def tell(self, trial: Trial, record: Record) -> None:
        """Records the result of a trial, and of repeated proposals of the same values."""
        self._tell(trial.number, record)
        for twin in self._twins.pop(trial.number, []):
            self._tell_twin(twin, trial, record)

    def trials(self) -> list[Trial]:
        """All started trials."""
        begun = self._in_state("RUNNING", "COMPLETE", "PRUNED", "FAIL")
        return [self._trial(frozen) for frozen in begun if set(frozen.params) == set(self.space)]

    def _tell_twin(self, trial: Trial, twin: Trial, record: Record) -> None:
        same = Record(record.state, record.value, record.step, 0.0, record.run, f"the same as trial {twin.number}")
        same.write(record_path(self.directory, trial.number))
        self._tell(trial.number, same)

    def _tell(self, number: int, record: Record) -> None:
        from optuna.trial import TrialState

        if record.state == FINISHED:
            self._study.tell(number, record.value, skip_if_finished=True)
        else:
            state = TrialState.PRUNED if record.state == PRUNED else TrialState.FAIL
            self._study.tell(number, state=state, skip_if_finished=True)

    def _enqueue_grid(self) -> None:
        """Every combination that is neither settled nor waiting nor running."""
        uncountable = [key for key, dimension in self.space.items() if dimension.values() is None]
        if uncountable:
            raise UserError(f"search/sampler=grid cannot count {uncountable[0]}: give it a list of choices, or a step")
        keys = list(self.space)
        there = {
            tuple(_values(frozen)[key] for key in keys)
            for frozen in self._in_state("COMPLETE", "PRUNED", "RUNNING", "WAITING")
        }
        for point in itertools.product(*(self.space[key].values() or [] for key in keys)):
            if point not in there:
                self._study.enqueue_trial(dict(zip(keys, point, strict=True)))

    def _give_up_half_proposed(self) -> None:
        """Fails trials whose process ended during the proposal, before any training."""
        for frozen in self._in_state("RUNNING"):
            if set(frozen.params) != set(self.space):
                self._study.tell(frozen.number, state=frozen.state.FAIL)

    def _trial(self, frozen: optuna.trial.FrozenTrial) -> Trial:
        values = _values(frozen)
        return Trial(frozen.number, {key: values[key] for key in self.space})

    def _in_state(self, *names: str) -> list[optuna.trial.FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [frozen for frozen in trials if frozen.state.name in names]


class Judge:
    """Judges a running trial by the others of its study (`fieldforge.training.callbacks.pruning.Judge`).

    Args:
        record: path of the trial's record, `<study>/trials/<number>.json`; None outside of a sweep: never prunes.
        objective, direction: as of `SearchSettings`.
        pruner: an Optuna pruner.
    """

    def __init__(self, record: str | None, objective: str, direction: str | None, pruner: Any):
        self._trial = None
        if record is not None:
            import optuna

            study = _open(Path(record).parents[1], direction_of(objective, direction), pruner)
            [trial_id] = [t._trial_id for t in study.get_trials(deepcopy=False) if t.number == int(Path(record).stem)]
            self._trial = optuna.trial.Trial(study, trial_id)

    def prune(self, step: int, value: float) -> bool:
        if self._trial is None:
            return False
        with warnings.catch_warnings():  # a resumed run reports some steps again, which Optuna passes over
            warnings.simplefilter("ignore")
            self._trial.report(value, step)
        return bool(self._trial.should_prune())


def _with_optuna(space: Mapping[str, Dimension]) -> Mapping[str, Dimension]:
    try:
        import optuna
    except ImportError as error:
        raise UserError(f"search= needs Optuna: {install_command('sweep')}") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return space


def _open(directory: Path, direction: str, pruner: Any = None) -> optuna.Study:
    """The study whose journal lies in `directory`: a file that several processes may append to, on NFS too."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(directory / JOURNAL))),
        study_name=_NAME,
        direction=direction,  # type: ignore[arg-type]
        pruner=pruner if pruner is not None else optuna.pruners.NopPruner(),
        load_if_exists=True,
    )


def _build(key: str, block: Any, **extra: Any) -> Any:
    """Build a sampler. UserError where there is no such class, or it does not take these arguments."""
    try:
        return hydra.utils.instantiate(block, _convert_="all", _partial_=True)(**extra)
    except (InstantiationException, TypeError, ValueError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(
            f"config key {key} cannot be built ({reason}): choose one of configs/{key.replace('.', '/')}"
        ) from error


def _values(frozen: optuna.trial.FrozenTrial) -> Mapping[str, Any]:
    """The values of a trial, also of a waiting one."""
    return frozen.params or frozen.system_attrs.get("fixed_params", {})
