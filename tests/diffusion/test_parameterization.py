import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldforge.diffusion.loss import output_weight
from fieldforge.diffusion.parameterization import (
    Preconditioned,
    PredictData,
    PredictNoise,
    PredictV,
    PredictVelocity,
    input_scale,
    noise_level,
)
from fieldforge.diffusion.weighting import EDM, MinSNR, Sigmoid, UniformData, UniformNoise, UniformV, UniformVelocity
from fieldforge.errors import UserError
from fieldforge.noise.processes import Cosine, Exponential, Linear, LinearInterpolation, VarianceExploding

PARAMETERIZATIONS = [PredictNoise(), PredictData(), PredictV(), PredictVelocity(), Preconditioned(0.5)]
PROCESSES = [Linear(), Cosine(), Exponential(12.0), VarianceExploding(80.0, 7.0), LinearInterpolation()]


def named(thing):
    return type(thing).__name__


def state(process, t, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0, noise = (torch.randn(4, 3, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.full((4,), t, dtype=torch.float64)
    return x0, noise, process.add_noise(x0, noise, t), process.alpha(t), process.sigma(t)


@pytest.mark.parametrize("process", PROCESSES, ids=named)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=named)
@settings(max_examples=25, deadline=None)
@given(t=st.floats(0.02, 0.98))
def test_the_perfect_output_denoises_perfectly(parameterization, process, t):
    x0, noise, x_t, alpha, sigma = state(process, t)
    output = parameterization.target(x0, noise, alpha, sigma)
    denoised = parameterization.denoised(output, x_t, alpha, sigma)
    torch.testing.assert_close(denoised, x0, rtol=1e-7, atol=1e-7 * float(1 + sigma[0] / alpha[0]))


@pytest.mark.parametrize("process", PROCESSES, ids=named)
@pytest.mark.parametrize("b", PARAMETERIZATIONS, ids=named)
@pytest.mark.parametrize("a", PARAMETERIZATIONS, ids=named)
def test_any_output_means_the_same_after_conversion(a, b, process):
    """What a says of x₀ — right or wrong — is said again by the output of b that implies the same noise."""
    _, _, x_t, alpha, sigma = state(process, 0.4)
    output = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x0 = a.denoised(output, x_t, alpha, sigma)
    noise = (x_t - alpha[:, None, None] * x0) / sigma[:, None, None]
    converted = b.target(x0, noise, alpha, sigma)
    torch.testing.assert_close(b.denoised(converted, x_t, alpha, sigma), x0, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("process", PROCESSES, ids=named)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS, ids=named)
def test_out_coefficient_agrees_with_its_logarithm(parameterization, process):
    t = torch.linspace(0.01, 0.99, 40, dtype=torch.float64)
    _, out = parameterization.denoised_coefficients(process.alpha(t), process.sigma(t))
    torch.testing.assert_close(out.abs().log(), parameterization.log_out(process.log_snr(t)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("process", PROCESSES, ids=named)
@pytest.mark.parametrize("parameterization", [PredictV(), Preconditioned(1.0)], ids=named)
def test_targets_and_inputs_have_unit_variance(parameterization, process):
    """For independent data and noise of unit variance: p² + q² = 1, and the scaled input's variance is 1."""
    t = torch.linspace(0.01, 0.99, 40, dtype=torch.float64)
    p, q = parameterization.target_coefficients(process.alpha(t), process.sigma(t))
    torch.testing.assert_close(p**2 + q**2, torch.ones_like(t))
    scale = input_scale(process.alpha(t), process.sigma(t))
    torch.testing.assert_close(scale**2 * (process.alpha(t) ** 2 + process.sigma(t) ** 2), torch.ones_like(t))


def test_preconditioning_is_the_published_table():
    """Karras et al. 2022, table 1, at σ = 2 and σ_data = 0.5."""
    sigma, data = torch.tensor([2.0], dtype=torch.float64), 0.5
    skip, out = Preconditioned(data).denoised_coefficients(torch.ones_like(sigma), sigma)
    assert math.isclose(float(skip), data**2 / (4 + data**2))
    assert math.isclose(float(out), 2 * data / math.sqrt(4 + data**2))
    level = noise_level(-2 * sigma.log())
    assert math.isclose(float(level), math.log(2) / 4)


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_edm_of_data_with_unit_variance_is_v_but_for_the_sign_of_the_output(process):
    _, _, x_t, alpha, sigma = state(process, 0.4)
    output = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    edm, v = Preconditioned(1.0), PredictV()
    torch.testing.assert_close(edm.denoised(-output, x_t, alpha, sigma), v.denoised(output, x_t, alpha, sigma))
    log_snr = process.log_snr(torch.linspace(0.01, 0.99, 40, dtype=torch.float64))
    torch.testing.assert_close(EDM(1.0).log_weight(log_snr), UniformV().log_weight(log_snr))


def test_v_and_velocity_are_the_published_ones():
    x0, noise, _, alpha, sigma = state(Cosine(), 0.3)
    v = PredictV().target(x0, noise, alpha, sigma)
    torch.testing.assert_close(v, alpha[:, None, None] * noise - sigma[:, None, None] * x0)
    torch.testing.assert_close(PredictVelocity().target(x0, noise, alpha, sigma), noise - x0)


def test_noise_prediction_refuses_a_start_without_signal():
    x0, _, x_t, alpha, sigma = state(LinearInterpolation(), 1.0)
    with pytest.raises(UserError, match=r"alpha = 0.*start"):
        PredictNoise().denoised(x0, x_t, alpha, sigma)


MATCHING = [
    (UniformNoise(), PredictNoise()),
    (UniformData(), PredictData()),
    (UniformV(), PredictV()),
    (UniformVelocity(), PredictVelocity()),
    (EDM(0.5), Preconditioned(0.5)),
]


@pytest.mark.parametrize(("weighting", "parameterization"), MATCHING, ids=named)
@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_uniform_weight_on_the_own_target_is_weight_one(weighting, parameterization, process):
    """At the very ends too, where the weight and the coefficient run to infinity against each other."""
    t = torch.tensor([1e-9, 0.01, 0.5, 0.99, 1 - 1e-9], dtype=torch.float64)
    weight = output_weight(t, process, parameterization, weighting)
    torch.testing.assert_close(weight, torch.ones_like(t), rtol=1e-8, atol=0)


def test_weightings_at_a_known_level():
    """SNR = 4 (σ = ½ of α): the factors of the x₀ error, from each paper's formula."""
    log_snr = torch.tensor([math.log(4.0)], dtype=torch.float64)
    expected = {
        UniformNoise(): 4.0,
        UniformData(): 1.0,
        UniformV(): 5.0,
        UniformVelocity(): 9.0,
        MinSNR(5.0): 4.0,
        MinSNR(3.0): 3.0,
        EDM(0.5): (0.25 + 0.25) / (0.5 * 0.5) ** 2,
        Sigmoid(0.0): 4.0 / (1 + 4.0),
    }
    for weighting, value in expected.items():
        assert math.isclose(float(weighting.log_weight(log_snr).exp()), value, rel_tol=1e-12), named(weighting)
