"""When a step has ended and is logged, and what its learning rate is."""

from types import SimpleNamespace

import pytest

from fieldforge.training.callbacks.schedule import learning_rate
from fieldforge.training.callbacks.steps import StepCallback, logs_next, logs_now


def trainer(batches: int, accumulate: int = 2, log_every: int = 3) -> SimpleNamespace:
    """After so many batches."""
    progress = SimpleNamespace(current=SimpleNamespace(ready=batches))
    return SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        accumulate_grad_batches=accumulate,
        log_every_n_steps=log_every,
        global_step=batches // accumulate,
    )


def test_a_step_ends_with_the_last_of_its_batches():
    steps = []

    class Steps(StepCallback):
        def on_step_end(self, trainer, pl_module) -> None:
            steps.append(trainer.global_step)

    for batches in range(1, 8):
        Steps().on_train_batch_end(trainer(batches), None, None, None, 0)
    assert steps == [1, 2, 3]


def test_the_steps_that_are_logged_are_known_before_and_after():
    after = [batches for batches in range(1, 25) if logs_now(trainer(batches))]
    assert after == [6, 12, 18, 24]
    assert all(logs_next(trainer(batches - 1)) for batches in after)
    assert not logs_next(trainer(6))


def test_the_rate_rises_by_steps_and_falls_by_progress():
    rates = [learning_rate(step, 0.0, 3, 0.1) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert [learning_rate(9, progress, 3, 0.1) for progress in (0.5, 1.0)] == pytest.approx([0.55, 0.1])
    assert learning_rate(0, 1.0, 0, 0.0) == pytest.approx(0)
