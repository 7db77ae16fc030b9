"""Steps that would do harm are left out, and no others; spoiled weights go back to the last checkpoint."""

import math
from itertools import pairwise

import pytest
import pytorch_lightning as pl
import torch
from tests.training.small import distance, train

from fieldforge.diffusion.weighting import MinSNR, UniformData, UniformNoise, UniformV, Weighting
from fieldforge.errors import UserError
from fieldforge.nn.ema import PlainDecay
from fieldforge.noise.processes import Cosine, Exponential, Process
from fieldforge.training.callbacks import gradient_guard
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.checkpointer import Checkpointer
from fieldforge.training.callbacks.gradient_guard import GradientGuard
from fieldforge.training.callbacks.recovery import Recovery
from fieldforge.training.processes.checkpoints import load_safely


class Spoiled:
    """A loss times `factor` in some steps; remembers which batches it met."""

    def __init__(self, steps: range | set[int], factor: float = math.nan):
        self.steps, self.factor = steps, factor
        self.batches: list[float] = []

    def __call__(self, line, batch, randomness):
        self.batches.append(float(batch["input"][0, 0]))
        loss, terms = distance(line, batch, randomness)
        return loss * (self.factor if len(self.batches) in self.steps else 1.0), terms


class Look(pl.Callback):
    """State after each step, by step; goes last."""

    def __init__(self, ema: EMACallback):
        self.ema = ema
        self.states: dict[int, dict[str, torch.Tensor]] = {}
        self.logged: dict[int, tuple[float, float]] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        [optimizer] = trainer.optimizers
        moments = next(iter(optimizer.state.values()))
        average = self.ema.state_dict()["average"]["autoencoder.map.weight"]
        state = {"weight": pl_module.autoencoder.map.weight, "average": average, **moments}
        self.states[trainer.global_step] = {name: tensor.detach().clone() for name, tensor in state.items()}
        names = ("train/skipped_steps", "train/rollbacks")
        self.logged[trainer.global_step] = tuple(float(trainer.callback_metrics[name]) for name in names)


def recovered(folder, spoiled: Spoiled, steps: int = 30, every: int | None = 4, **settings) -> Look:
    guard, ema = GradientGuard(), EMACallback(PlainDecay(0.9))
    saving = Checkpointer(every_steps=every)
    look = Look(ema)
    recovery = Recovery(**{"window": 20, "patience": 3, **settings})
    train(folder, saving, recovery, look, steps=steps, loss=spoiled, guard=guard, ema=ema)
    return look


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


def test_few_bad_steps_are_left_out_and_counted(tmp_path, caplog):
    look = recovered(tmp_path, Spoiled({9, 11}))
    assert not differing({"weight": look.states[9]["weight"]}, look.states[8])
    assert differing(look.states[12], look.states[11]) == ["weight", "average", "step", "exp_avg", "exp_avg_sq"]
    assert look.logged[8] == (0, 0)
    assert look.logged[30] == (2, 0)
    assert caplog.text.count("1 bad step left out") == 2


def test_spike_is_left_out_and_a_loss_that_falls_to_nothing_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_guard, "SETTLING", 10)
    look = recovered(tmp_path, Spoiled({25}, factor=1e4))
    assert not differing({"weight": look.states[25]["weight"]}, look.states[24])
    assert look.logged[30] == (1, 0)
    assert recovered(tmp_path / "early", Spoiled({5}, factor=1e4)).logged[30] == (
        0,
        0,
    )  # what is usual is not known yet
    assert recovered(tmp_path / "falling", Spoiled(range(8, 31), factor=1e-9)).logged[30] == (0, 0)
    assert recovered(tmp_path / "no_limit", Spoiled({25}, factor=1e4), spike=None).logged[30] == (0, 0)


def test_many_bad_steps_lead_back_to_the_checkpoint_and_data_go_on(tmp_path, caplog):
    spoiled = Spoiled(range(10, 13))
    look = recovered(tmp_path, spoiled)
    assert not differing(look.states[12], look.states[8])  # weights, average, moments and their count
    assert differing(look.states[13], look.states[12])
    assert (look.logged[12], look.logged[30]) == ((3, 0), (3, 1))
    assert all(one != other for one, other in pairwise(spoiled.batches))
    assert len(set(spoiled.batches)) == 30  # none is met twice
    assert "weights go back to" in caplog.text


def test_restored_state_is_saved_with_a_clean_count(tmp_path):
    look = recovered(tmp_path, Spoiled(range(10, 13)), steps=12, every=4)
    saved = load_safely(tmp_path / "checkpoints/step_000000012.ckpt")
    assert torch.equal(saved["state_dict"]["autoencoder.map.weight"], look.states[8]["weight"])
    assert saved["callbacks"]["Recovery"] == {"done": 1, "seen": [[12, 3]]}  # who resumes does not go back again
    average = saved["callbacks"]["EMACallback"]["average"]["autoencoder.map.weight"]
    assert torch.equal(average, look.states[8]["average"])


def test_trouble_that_stays_ends_the_run_with_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"3 of the steps 16 to 18 .* after 2 returns .* lower optimizer.lr"):
        recovered(tmp_path, Spoiled(range(10, 30)), rollbacks=2, window=5)


def test_trouble_before_the_first_checkpoint_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint yet to go back to: lower"):
        recovered(tmp_path, Spoiled(range(2, 30)), every=None)


def test_settings_that_make_no_sense_are_refused(tmp_path):
    for wrong, sentence in (({"spike": 1.0}, "a factor above 1"), ({"patience": 21}, "between 1 and window")):
        with pytest.raises(UserError, match=sentence):
            recovered(tmp_path, Spoiled(set()), **wrong)


def judged(losses: list[float]) -> list[int]:
    """Steps that a guard with the default limit leaves out."""
    guard = GradientGuard()
    guard.spike = 10.0
    norm = torch.tensor(1.0)
    return [step for step, loss in enumerate(losses) if guard._judge(norm, torch.tensor(loss))]


@pytest.mark.parametrize(
    ("process", "weighting"),
    [(Exponential(), UniformData()), (Exponential(), UniformNoise()), (Cosine(), UniformV()), (Cosine(), MinSNR())],
)
def test_natural_scatter_of_a_denoiser_s_loss_is_no_trouble(process: Process, weighting: Weighting):
    """Loss of the best denoiser of Gaussian data of few directions: w(λ) mean v/(1 + v SNR), one sample a step."""
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(4000, generator=generator, dtype=torch.float64)  # (S,)
    log_snr = process.log_snr(t).clamp(-30, 30)[:, None]  # (S, 1)
    variances = torch.tensor([10.0] * 8 + [0.4] * 24 + [1e-3] * 96)  # (V,)
    error = (variances / (1 + variances * log_snr.exp())).mean(1)  # (S,)
    scatter = torch.exp(0.5 * torch.randn(4000, generator=generator))  # (S,)
    losses = scatter * (weighting.log_weight(log_snr[:, 0]).exp() * error + 1e-3)
    alone = judged(losses.tolist())
    assert len(alone) <= 8
    assert all(later - earlier > 100 for earlier, later in zip(alone, alone[3:], strict=False))  # far from 10 in 100
    assert judged(losses.view(-1, 16).mean(1).tolist()) == []


def test_divergence_is_noticed_however_slowly_it_grows():
    settled = [1.0] * 600
    for growth in (1.2, 2.0, 100.0):
        left_out = judged([*settled, *(growth**step for step in range(1, 60))])
        assert len(left_out) > 10, growth
    jumped = judged([*settled, *[100.0] * 20])
    assert len(jumped) == 20  # more than `Recovery`'s patience
    assert len(judged([*settled, *[12.0] * 20])) < 10  # becomes usual
