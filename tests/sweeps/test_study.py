"""The journal: what another process finds, what pruning says, what is not tried twice."""

from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf

from fieldforge.errors import UserError
from fieldforge.sweeps.records import FAILED, FINISHED, PRUNED, Record, record_path
from fieldforge.sweeps.settings import SearchSettings, check_judged
from fieldforge.sweeps.space import Choices, Range
from fieldforge.sweeps.study import Judge, Study

RANDOM = {"_target_": "optuna.samplers.RandomSampler", "_partial_": True}
GRID = {"_target_": "fieldforge.sweeps.study.Grid", "_partial_": True}


def study(directory: Path, space=None, sampler=RANDOM, trials=6, direction="minimize") -> Study:
    space = {"lr": Range(1e-4, 1e-1, log=True), "depth": Range(1, 3)} if space is None else space
    settings = SearchSettings("loss", direction, trials=trials, sampler=sampler, pruner={}, space={"lr": []})
    return Study(directory, settings, space)


def end(of: Study, trial, record: Record) -> None:
    record.write(record_path(of.directory, trial.number))
    of.tell(trial, record)


def test_another_process_goes_on(tmp_path: Path):
    first = study(tmp_path)
    a, b, c = first.next(3)
    end(first, a, Record(FINISHED, 1.0, 10))
    end(first, b, Record(PRUNED, 2.0, 5))
    del first  # c was running when the process died

    second = study(tmp_path)
    [again] = second.next(1)
    assert again == c  # the interrupted one, with the same values, comes first
    end(second, again, Record(FAILED, note="broke"))
    new = second.next(10)
    assert [trial.number for trial in new] == [3, 4, 5]  # two are settled, one was continued
    assert len({trial.overrides for trial in [a, b, c, *new]}) == 6
    for trial in new:
        end(second, trial, Record(FINISHED, 3.0, 10))
    assert second.next(1) == []
    third = study(tmp_path)
    assert len(third.next(10)) == 1  # the failed one does not count
    assert [trial.number for trial in third.trials()] == list(range(7))


def test_grid_is_whole_and_failures_are_tried_again(tmp_path: Path):
    space = {"lr": Choices(("0.1", "0.2")), "depth": Range(1, 3)}
    grid = study(tmp_path, space, GRID, trials=1)
    batch = grid.next(100)
    assert [trial.overrides for trial in batch] == [(f"lr={lr}", f"depth={d}") for lr in (0.1, 0.2) for d in (1, 2, 3)]
    for trial in batch:
        end(grid, trial, Record(FAILED, note="x") if trial.number == 4 else Record(FINISHED, 1.0, 1))
    [again] = study(tmp_path, space, GRID).next(100)
    assert again.overrides == batch[4].overrides
    with pytest.raises(UserError, match="cannot count lr"):
        study(tmp_path / "other", sampler=GRID)


def test_the_same_proposal_is_not_trained_twice(tmp_path: Path):
    of = study(tmp_path, {"depth": Choices(("1", "2"))}, trials=8)
    trained = of.next(8)
    assert sorted(trial.overrides for trial in trained) == [("depth=1",), ("depth=2",)]
    for trial in trained:
        end(of, trial, Record(FINISHED, float(trial.number), 1))
    assert of.next(8) == []
    assert len(of.trials()) == 8
    notes = [Record.read(record_path(tmp_path, number)).note for number in range(8)]
    assert sum(note.startswith("the same as trial") for note in notes) == 6


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_median_pruning(tmp_path: Path, direction: str):
    sign = 1 if direction == "minimize" else -1
    of = study(tmp_path, direction=direction)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    verdicts = []
    for value in (1.0, 2.0, 3.0, 0.5):
        [trial] = of.next(1)
        judge = Judge(str(record_path(tmp_path, trial.number)), "loss", direction, pruner)
        verdicts.append(judge.prune(10, sign * value))
        end(of, trial, Record(PRUNED if verdicts[-1] else FINISHED, sign * value, 10))
    assert verdicts == [False, False, True, False]


def test_a_resumed_run_may_report_again(tmp_path: Path):
    [trial] = study(tmp_path).next(1)
    for _ in range(2):
        judge = Judge(str(record_path(tmp_path, trial.number)), "loss", "minimize", optuna.pruners.NopPruner())
        assert not judge.prune(5, 1.0)
    assert not Judge(None, "loss", "minimize", None).prune(5, 1.0)


def test_mistakes(tmp_path: Path):
    with pytest.raises(UserError, match=r"search\.sampler cannot be built"):
        study(tmp_path, sampler={**RANDOM, "abacus": 1})
    with pytest.raises(UserError, match=r"search\.direction = 'down'"):
        SearchSettings("loss", "down")
    with pytest.raises(UserError, match=r"search\.parallel = 0"):
        SearchSettings("loss", parallel=0)
    path = record_path(tmp_path, 0)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        Record.read(path)


def test_the_measure_says_which_way_is_better():
    assert SearchSettings("judge/iou").ranking == "maximize"
    assert SearchSettings("judge/chamfer_l1").ranking == "minimize"
    assert SearchSettings("heldout/loss").ranking == "minimize"
    assert SearchSettings("heldout/accuracy", "maximize").ranking == "maximize"
    assert SearchSettings("judge/novelty", "maximize").ranking == "maximize"


@pytest.mark.parametrize(
    ("objective", "direction", "sentence"),
    [
        ("judge/iou", "minimize", r"search\.direction = minimize ranks judge/iou from its worst on"),
        ("judge/novelty", None, r"search\.objective = judge/novelty is best somewhere between"),
        ("heldout/loss", "down", r"search\.direction = 'down' must be"),
    ],
)
def test_a_direction_that_ranks_wrongly_is_refused(objective, direction, sentence):
    with pytest.raises(UserError, match=sentence):
        SearchSettings(objective, direction)


def test_what_is_not_judged_is_told_before_the_first_trial():
    shapes = {"_target_": "fieldforge.domains.shape.ShapeDomain"}
    config = OmegaConf.create({"callbacks": {"judges": {"count": 8}}, "domain": shapes})
    check_judged(config, "judge/iou")
    check_judged(config, "heldout/anything")
    with pytest.raises(UserError, match=r"judge/f_scor is not measured: choose one of judge/f_score"):
        check_judged(config, "judge/f_scor")
    check_judged(OmegaConf.merge(config, {"domain": {"_target_": "examples.sound.SoundDomain"}}), "judge/pitch")
    with pytest.raises(UserError, match=r"judge/iou is measured by callbacks=judges: add it"):
        check_judged(OmegaConf.create({"callbacks": {"pictures": {}}, "domain": shapes}), "judge/iou")
