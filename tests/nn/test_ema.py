import math

import numpy as np
import pytest
import torch
from torch import nn

from fieldforge.errors import UserError
from fieldforge.nn.ema import EMA, PlainDecay, PowerDecay, Profile, combine, gamma_of_std, posthoc_weights


class Clock(nn.Module):
    """A weight that equals the step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def tick(self, step):
        self.weight.data.fill_(step)
        self.count.fill_(step)


def run(decay, steps):
    clock = Clock()
    ema = EMA(clock, decay)
    for step in range(1, steps + 1):
        clock.tick(step)
        ema.update(clock, step)
    return ema


def test_power_function_average_has_its_profile():
    """The average of t under (γ+1) t^γ / T^(γ+1) is T (γ+1)/(γ+2)."""
    steps, decay = 2000, PowerDecay(std=0.1)
    mean = steps * (decay.gamma + 1) / (decay.gamma + 2)
    assert abs(float(run(decay, steps).average["weight"]) - mean) < 1e-3 * steps


@pytest.mark.parametrize("std", [0.01, 0.05, 0.1, 0.25])
def test_gamma_gives_that_deviation(std):
    gamma = gamma_of_std(std)
    t = (np.arange(1_000_000) + 0.5) / 1_000_000
    density = (gamma + 1) * t**gamma
    mean = np.mean(density * t)
    assert math.isclose(np.sqrt(np.mean(density * (t - mean) ** 2)), std, rel_tol=1e-3)


def test_published_gamma():
    assert math.isclose(gamma_of_std(0.10), 6.94, abs_tol=0.01)  # EDM2, section 3.1
    assert math.isclose(gamma_of_std(0.05), 16.97, abs_tol=0.01)


def test_plain_decay_is_the_recursion():
    average = 0.0
    for step in range(1, 51):
        keep = min(0.9, (1 + step) / (10 + step))
        average = keep * average + (1 - keep) * step
    assert math.isclose(float(run(PlainDecay(0.9), 50).average["weight"]), average, rel_tol=1e-5)


def test_length_chosen_afterwards_is_the_length_chosen_before():
    steps, every = 1000, 50
    snapshots, profiles = [], []
    for std in (0.05, 0.10):
        clock, decay = Clock(), PowerDecay(std)
        ema = EMA(clock, decay)
        for step in range(1, steps + 1):
            clock.tick(math.sin(step / 100))
            ema.update(clock, step)
            if step % every == 0:
                snapshots.append({name: tensor.clone() for name, tensor in ema.state_dict().items()})
                profiles.append(Profile(step, decay.gamma))
    clock, target = Clock(), PowerDecay(0.15)
    direct = EMA(clock, target)
    for step in range(1, steps + 1):
        clock.tick(math.sin(step / 100))
        direct.update(clock, step)
    weights = posthoc_weights(profiles, Profile(steps, target.gamma))
    assert abs(sum(weights) - 1) < 1e-3
    combined = combine(snapshots, weights)
    assert abs(float(combined["weight"]) - float(direct.average["weight"])) < 2e-3


def test_overlap_is_the_integral():
    a, b = Profile(800, 6.94), Profile(1000, 16.97)
    t = (np.arange(1_000_000) + 0.5) / 1_000_000 * 1000
    pa = np.where(t <= a.step, (a.gamma + 1) * t**a.gamma / a.step ** (a.gamma + 1), 0)
    pb = (b.gamma + 1) * t**b.gamma / b.step ** (b.gamma + 1)
    assert math.isclose(a.overlap(b), np.mean(pa * pb) * 1000, rel_tol=1e-4)


def test_state_survives_and_integers_are_copied():
    ema = run(PowerDecay(0.1), 20)
    assert int(ema.average["count"]) == 20
    other, module = EMA(Clock(), PowerDecay(0.1)), Clock()
    other.load_state_dict(ema.state_dict())
    other.copy_to(module)
    assert torch.equal(module.weight.data, ema.average["weight"])
    with pytest.raises(UserError, match="another model"):
        ema.load_state_dict({"weight": torch.zeros(1)})


def test_the_average_is_its_own_memory():
    clock = Clock()
    ema = EMA(clock, PlainDecay(0.5))
    clock.tick(7)
    assert float(ema.average["weight"]) == 0
