"""Each callback does what it says, and nothing to the training."""

import csv
import signal

import pytest
import pytorch_lightning as pl
import torch
from tests.training.small import Line, distance, train

from fieldforge.errors import UserError
from fieldforge.nn.ema import PlainDecay
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.checkpointer import Checkpointer
from fieldforge.training.callbacks.gradient_guard import GradientGuard
from fieldforge.training.callbacks.metrics_table import MetricsTable, read_table
from fieldforge.training.callbacks.picture_log import Pictures
from fieldforge.training.callbacks.throughput import Progress, Throughput
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.processes import checkpoints as checkpointing
from fieldforge.training.processes import interruption
from fieldforge.training.processes.checkpoints import find_last


class Weights(pl.Callback):
    """Remembers the weights after every step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(pl_module.autoencoder.map.weight.detach().clone())


def test_average_follows_its_recursion(tmp_path):
    weights = Weights()
    module = train(tmp_path, weights, steps=6)
    torch.manual_seed(0)
    expected = Line().map.weight.detach()
    for step, weight in enumerate(weights.seen, 1):
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * weight
    with module.ema.averaged(module):
        assert torch.allclose(module.autoencoder.map.weight, expected, atol=1e-6)
    assert torch.equal(module.autoencoder.map.weight, weights.seen[-1])


def test_step_with_a_broken_gradient_is_left_out_and_training_goes_on(tmp_path):
    def sometimes_broken(line, batch, randomness):
        loss, terms = distance(line, batch, randomness)
        sometimes_broken.step += 1
        return (loss * float("nan") if sometimes_broken.step == 4 else loss), terms

    sometimes_broken.step = 0
    weights = Weights()
    train(tmp_path, weights, steps=6, loss=sometimes_broken)
    assert torch.equal(weights.seen[3], weights.seen[2])
    assert not torch.equal(weights.seen[4], weights.seen[3])
    assert weights.seen[-1].isfinite().all()


def test_endless_broken_gradients_end_the_run_with_one_sentence(tmp_path):
    def broken(line, batch, randomness):
        loss, terms = distance(line, batch, randomness)
        return loss * float("inf"), terms

    with pytest.raises(UserError, match="no finite gradient for 4 steps"):
        train(tmp_path, steps=50, loss=broken, guard=GradientGuard(patience=3))


def test_gradients_are_clipped_to_the_norm(tmp_path):
    class Norm(pl.Callback):
        largest = 0.0

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            norms = torch.nn.utils.get_total_norm([p.grad for p in pl_module.parameters()])
            self.largest = max(self.largest, float(norms))

    norm = Norm()
    train(tmp_path, norm, guard=GradientGuard(max_norm=1e-3))
    assert norm.largest == pytest.approx(1e-3, rel=1e-3)


def test_optimiser_that_cannot_leave_out_a_step_is_refused():
    line = Line()
    line(torch.ones(1, 3)).sum().backward()
    with pytest.raises(UserError, match="fused"):
        GradientGuard().on_before_optimizer_step(None, None, torch.optim.Adadelta(line.parameters()))


def test_weight_decay_acts_on_matrices_only():
    optimizer = build_optimizer(lambda groups: torch.optim.AdamW(groups, lr=1.0, weight_decay=0.5), Line(), Line())
    matrices, vectors = optimizer.param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.5, 0.0)
    assert [p.ndim for p in matrices["params"]] == [2, 2]
    assert [p.ndim for p in vectors["params"]] == [1, 1]
    shared = Line()
    assert sum(len(group["params"]) for group in build_optimizer(torch.optim.AdamW, shared, shared).param_groups) == 2


def test_checkpoints_are_kept_two_deep_and_foreign_ones_refused(tmp_path):
    train(tmp_path, Checkpointer(every_steps=2))
    folder = tmp_path / "checkpoints"
    assert [path.name for path in sorted(folder.iterdir())] == ["step_000000008.ckpt", "step_000000010.ckpt"]
    assert find_last(folder, "mine").step == 10
    with pytest.raises(UserError, match="belongs to run mine, not to yours"):
        find_last(folder, "yours")
    for path in folder.iterdir():
        path.write_bytes(b"torn")
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
        find_last(folder, "mine")
    assert find_last(tmp_path / "none", "mine") is None


def test_full_disk_is_one_sentence_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    checkpointing.save_atomically({"fieldforge": {"format": checkpointing.FORMAT}, "value": 1}, tmp_path / "a.ckpt")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpointing.torch, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        checkpointing.save_atomically({"value": 2}, tmp_path / "a.ckpt")
    assert checkpointing.load_safely(tmp_path / "a.ckpt")["value"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_pictures_are_drawn_with_the_average_and_change_nothing(tmp_path):
    drawn = []

    def draw(module, path):
        drawn.append((path.name, module.training, module.autoencoder.map.weight.detach().clone()))
        return []

    ema = EMACallback(PlainDecay(0.9))
    looked_at = train(tmp_path, Pictures(every_minutes=0.0), ema=ema, draw=draw)
    assert torch.equal(looked_at.autoencoder.map.weight, train(tmp_path).autoencoder.map.weight)
    assert drawn[-1][0] == "step_000000010.png"
    assert not any(training for _, training, _ in drawn)
    with ema.averaged(looked_at):
        assert torch.equal(drawn[-1][2], looked_at.autoencoder.map.weight)


def test_throughput_and_progress_report(tmp_path, capsys):
    seen = {}

    class Look(pl.Callback):
        def on_train_end(self, trainer, pl_module):
            seen.update({name: float(value) for name, value in trainer.logged_metrics.items()})

    train(tmp_path, Throughput(), Progress(quiet_seconds=0.0), Look())
    assert seen["speed/samples_per_second"] == pytest.approx(4 / seen["speed/step_seconds"], rel=1e-4)
    assert seen["speed/data_wait"] == 0
    output = capsys.readouterr().err
    assert output.splitlines()[-1].startswith("stage 2 of 3, stage 100% · step ")
    assert "loss" in output
    assert "\r" not in output  # nobody watches


def test_table_goes_on_where_a_run_resumes(tmp_path):
    first = MetricsTable(tmp_path)
    for step in range(4):
        first.log_metrics({"loss": float(step)}, step)
    first.save()
    second = MetricsTable(tmp_path)
    second.log_metrics({"loss": 20.0, "extra": 1.0}, 2)  # resumed from the checkpoint after step 2
    second.finalize("success")
    assert read_table(tmp_path / "metrics.csv") == {0: {"loss": 0.0}, 1: {"loss": 1.0}, 2: {"loss": 20.0, "extra": 1.0}}
    with (tmp_path / "metrics.csv").open() as stream:
        assert next(csv.reader(stream)) == ["step", "extra", "loss"]


def test_second_ctrl_c_stops_at_once():
    interruption.forget()
    interruption.hold_ctrl_c()
    try:
        signal.raise_signal(signal.SIGINT)
        assert interruption.noted() is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        interruption.release_ctrl_c()
        interruption.forget()
