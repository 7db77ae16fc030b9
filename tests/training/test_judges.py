"""Judges stay within their share of the time, and change nothing of the training."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import pytorch_lightning as pl
import torch
from tests.training.small import train

from fieldforge.errors import UserError
from fieldforge.training.callbacks import judges as module_of_judges
from fieldforge.training.callbacks.context import Sampling
from fieldforge.training.callbacks.judges import Judges


@dataclass
class Clock(pl.Callback):
    """In the place of the machine's: a step takes a minute."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def on_train_batch_start(self, *_: object) -> None:
        self.now += 60


@dataclass
class Slow:
    """Measures in so many seconds, after as many of preparation as are given."""

    clock: Clock
    seconds: float
    preparation: float = 0.0
    seen: list[tuple[int, float]] = field(default_factory=list)

    def prepare(self, sampling: Sampling) -> None:
        self.clock.now += self.preparation

    def __call__(self, module: pl.LightningModule, sampling: Sampling) -> dict[str, float]:
        self.clock.now += self.seconds
        self.seen.append((module.trainer.global_step, self.clock.now))
        return {"iou": 0.5, "novelty": float("nan")}


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module_of_judges, "time", clock)
    return clock


def judged_at(tmp_path, clock: Clock, measure: Slow, steps: int, **settings) -> list[int]:
    train(tmp_path, clock, Judges(**settings), steps=steps, measure=measure)
    return [step for step, _ in measure.seen]


@pytest.mark.parametrize(("seconds", "preparation"), [(1.0, 0.0), (60.0, 0.0), (30.0, 90.0)])
def test_the_interval_grows_until_the_share_holds(tmp_path, clock, seconds, preparation):
    measure = Slow(clock, seconds, preparation)
    steps = judged_at(tmp_path, clock, measure, 99, every_minutes=5, share=0.05)
    assert steps[-1] == 99  # the end, whatever it costs
    assert len(steps) > 2
    assert min(later - earlier for earlier, later in pairwise(steps[:-1])) >= 5
    for number, (_, now) in enumerate(measure.seen[1:-1], 2):  # the first one's cost was unknown
        assert preparation + number * seconds <= 0.05 * now


def test_what_costs_little_is_done_as_often_as_it_is_wished(tmp_path, clock):
    assert judged_at(tmp_path, clock, Slow(clock, 1.0), 22, every_minutes=5) == [5, 10, 15, 20, 22]


def test_steps_count_in_the_place_of_the_clock(tmp_path, clock):
    assert judged_at(tmp_path, clock, Slow(clock, 600.0), 10, every_steps=4) == [4, 8, 10]


def test_finite_measures_and_the_share_are_logged(tmp_path, clock):
    module = train(tmp_path, clock, Judges(every_steps=2), steps=4, measure=Slow(clock, 30.0))
    logged = module.trainer.callback_metrics
    assert float(logged["judge/iou"]) == 0.5
    assert "judge/novelty" not in logged
    assert float(logged["speed/judge_share"]) == pytest.approx(60 / (4 * 60 + 60))


def test_a_judgement_that_fails_costs_a_warning(tmp_path, clock, caplog):
    class Broken(Slow):
        def __call__(self, module, sampling):
            raise ValueError("no surface")

    module = train(tmp_path, clock, Judges(every_steps=2), steps=4, measure=Broken(clock, 1.0))
    assert module.trainer.global_step == 4
    assert "the samples cannot be judged (ValueError: no surface); the training goes on" in caplog.text


def test_weights_and_random_numbers_are_those_without_judges(tmp_path, clock):
    class Trembling(Slow):
        def __call__(self, module, sampling):
            assert not module.training
            return {"iou": float(module.autoencoder.map.weight.sum())}

    drawn, weights = [], []
    for callbacks in ([], [Judges(every_steps=1)]):
        module = train(tmp_path, clock, *callbacks, steps=5, measure=Trembling(clock, 0.0))
        assert module.training
        drawn.append(torch.rand(3))
        weights.append(module.autoencoder.map.weight.detach())
    assert torch.equal(*weights)
    assert torch.equal(*drawn)
    assert Judges().state_dict() == {}  # a checkpoint knows nothing of them


def test_a_stage_that_measures_nothing_is_left_alone(tmp_path, clock):
    assert "speed/judge_share" not in train(tmp_path, clock, Judges(), steps=2).trainer.callback_metrics


def test_a_share_of_all_the_time_is_refused():
    with pytest.raises(UserError, match=r"callbacks\.judges\.share=1 must be below 1"):
        Judges(share=1)
