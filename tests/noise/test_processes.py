import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldforge.errors import UserError
from fieldforge.noise.processes import Cosine, Exponential, Linear, LinearInterpolation, PowerLaw, VarianceExploding

PROCESSES = [
    Linear(),
    Cosine(),
    Exponential(12.0),
    VarianceExploding(80.0, 7.0),
    LinearInterpolation(),
    PowerLaw(5.0),
]
VARIANCE_PRESERVING = [Linear(), Cosine(), Exponential(12.0), PowerLaw(5.0)]


def named(process):
    return type(process).__name__


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_starts_clean_and_only_gets_noisier(process):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert process.alpha(t)[0] == 1
    assert process.sigma(t)[0] == 0
    assert (process.log_snr(t).diff()[1:] < 0).all()


@pytest.mark.parametrize("process", VARIANCE_PRESERVING, ids=named)
def test_variance_is_preserved(process):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(process.alpha(t) ** 2 + process.sigma(t) ** 2, torch.ones_like(t), rtol=0, atol=1e-12)


@pytest.mark.parametrize("process", PROCESSES, ids=named)
@settings(max_examples=60, deadline=None)
@given(t=st.floats(1e-6, 1 - 1e-6))
def test_log_snr_inverts(process, t):
    back = process.time_of_log_snr(process.log_snr(f64(t)))
    assert abs(float(back) - t) < 1e-9 * max(1, 1 / t)


def test_published_values():
    half = f64(0.5)
    # log ᾱ(½) = -(0.1 · ½ + 19.9 · ¼ / 2)
    assert math.isclose(float(Linear(0.1, 20.0).alpha(half)) ** 2, math.exp(-(0.05 + 19.9 / 8)), rel_tol=1e-12)
    offset = 0.008
    ratio = math.cos((0.5 + offset) / (1 + offset) * math.pi / 2) / math.cos(offset / (1 + offset) * math.pi / 2)
    assert math.isclose(float(Cosine().alpha(half)), ratio, rel_tol=1e-4)  # the end is moved by 5e-5
    assert math.isclose(float(Exponential(12.0).alpha(half)) ** 2, math.exp(-6), rel_tol=1e-12)
    assert math.isclose(float(VarianceExploding(80.0, 7.0).sigma(half)), 80 / 128, rel_tol=1e-12)
    assert math.isclose(float(PowerLaw(5.0).alpha(half)) ** 2, 1 - 1 / 32, rel_tol=1e-12)
    assert float(LinearInterpolation().sigma(f64(0.25))) == 0.25


def test_linear_is_the_limit_of_the_discrete_schedule():
    """DDPM's 1,000 β from 1e-4 to 0.02 have the continuous β of 0.1 … 20 per unit of t."""
    log_alpha_bar = torch.log1p(-torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumsum(0)
    t = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    difference = 2 * Linear().alpha(t).log() - log_alpha_bar
    assert difference.abs().max() < 0.1  # of 10: the discrete product differs in second order of β
    assert (difference / log_alpha_bar)[100:].abs().max() < 0.03


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_sigma_keeps_its_digits_near_zero(process):
    """float32 at a t where 1 - α² would be all rounding error."""
    t = 1e-5
    exact = float(process.sigma(f64(t)))
    assert math.isclose(float(process.sigma(torch.tensor([t], dtype=torch.float32))), exact, rel_tol=1e-4)


def test_add_noise_is_per_sample():
    x0, noise, t = torch.ones(2, 3, 4), torch.full((2, 3, 4), 2.0), f64(0.25, 1.0)
    x_t = LinearInterpolation().add_noise(x0, noise, t)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t[0], torch.full((3, 4), 1.25))
    torch.testing.assert_close(x_t[1], torch.full((3, 4), 2.0))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Linear(1.0, 0.5),
        lambda: Exponential(0.0),
        lambda: VarianceExploding(-1.0),
        lambda: PowerLaw(0.0),
    ],
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(UserError, match="needs"):
        build()
