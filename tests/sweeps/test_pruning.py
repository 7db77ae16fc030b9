"""The callback in a real training: reports at each validation, ends it, keeps what it has learned."""

from pathlib import Path

import pytest
from tests.runs.conftest import Place
from tests.runs.tiny import write_balls

from fieldforge.errors import UserError
from fieldforge.runs.train import run_training
from fieldforge.training.callbacks.pruning import Pruned

EVERY_TWO = ["stages=[autoencoder]", "monitor.validate_every=2"]


class Unforgiving:
    """Prunes at one step; remembers what it was told."""

    def __init__(self, at: int, reports: list | None = None):
        self.at, self.reports = at, [] if reports is None else reports
        Unforgiving.last = self

    def prune(self, step: int, value: float) -> bool:
        self.reports.append((step, value))
        return step == self.at


def with_judge(at: int, metric: str = "heldout/loss") -> str:
    judge = f"{{_target_:{__name__}.Unforgiving,at:{at}}}"
    stages = "stages:${stages}"
    target = "fieldforge.training.callbacks.pruning.Pruning"
    return f"+callbacks.pruning={{_target_:{target},metric:{metric},judge:{judge},{stages}}}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(write_balls(tmp_path / "balls", train=3), tmp_path)


def test_pruned_keeps_its_checkpoint_and_goes_on_unjudged(place: Place):
    with pytest.raises(Pruned) as end:
        run_training(place.compose(*EVERY_TWO, with_judge(4)))
    assert [step for step, _ in Unforgiving.last.reports] == [2, 4]
    assert (end.value.step, end.value.value) == Unforgiving.last.reports[-1]
    assert [path.name for path in end.value.run.glob("checkpoints/*")] == ["step_000000004.ckpt"]
    assert not (end.value.run / "model.ckpt").exists()
    directory = run_training(place.compose(*EVERY_TWO))["autoencoder"]
    assert directory.path == end.value.run
    assert directory.finished


def test_at_the_end_of_its_budget_a_run_is_finished(place: Place):
    assert run_training(place.compose(*EVERY_TWO, with_judge(6)))["autoencoder"].finished
    assert [step for step, _ in Unforgiving.last.reports] == [2, 4, 6]


def test_unknown_metric_says_which_there_are(place: Place):
    with pytest.raises(UserError, match=r"heldout/los is not logged: choose one of .*heldout/loss") as error:
        run_training(place.compose(*EVERY_TWO, with_judge(9, "heldout/los")))
    assert "\n" not in str(error.value)


def test_a_measure_counts_from_its_first_judgement_on(place: Place):
    words = ["callbacks=judges", "callbacks.judges.every_steps=4", "callbacks.judges.count=1"]
    words += ["callbacks.judges.resolution=8", with_judge(9, "judge/iou")]
    run_training(place.compose(*EVERY_TWO, *words))
    assert [step for step, _ in Unforgiving.last.reports] == [4, 6]
    with pytest.raises(UserError, match=r"judge/class is not logged: choose one of .*judge/iou"):
        run_training(place.compose(*EVERY_TWO, *words[:-1], with_judge(9, "judge/class"), "seed=1"))
