import math

import scipy.stats
import torch

from fieldforge.noise.densities import LogitNormal, LogNormalSigma, Shifted, UniformTime
from fieldforge.noise.processes import Exponential, LinearInterpolation, VarianceExploding


def draw(density, process, count=20_000):
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(count, generator=generator, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return density.times(uniform, process, tokens=16)


def test_uniform_time_is_uniform():
    assert scipy.stats.kstest(draw(UniformTime(), Exponential()).numpy(), "uniform").pvalue > 1e-3


def test_log_normal_sigma_has_that_law_under_every_process():
    for process in (VarianceExploding(1e4, 7.0), LinearInterpolation(), Exponential(30.0)):
        log_sigma = -process.log_snr(draw(LogNormalSigma(-1.2, 1.2), process)) / 2
        assert scipy.stats.kstest(log_sigma.numpy(), "norm", args=(-1.2, 1.2)).pvalue > 1e-3


def test_logit_normal_has_that_law():
    t = draw(LogitNormal(0.5, 0.8), LinearInterpolation())
    assert scipy.stats.kstest(torch.logit(t).numpy(), "norm", args=(0.5, 0.8)).pvalue > 1e-3


def test_shift_is_the_published_one_for_the_straight_path():
    """Esser et al. 2024, eq. 23: t' = s t / (1 + (s - 1) t), s = √(tokens / base)."""
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    shifted = Shifted(UniformTime(), base_tokens=256).times(u, LinearInterpolation(), tokens=1024)
    torch.testing.assert_close(shifted, 2 * u / (1 + u))


def test_shift_multiplies_the_noise_under_every_process():
    u, process = torch.linspace(0.05, 0.9, 50, dtype=torch.float64), Exponential(12.0)
    raised = process.log_snr(Shifted(UniformTime(), 1).times(u, process, tokens=4))
    inside = process.log_snr(u) - 2 * math.log(2) > process.log_snr(torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(raised[inside], (process.log_snr(u) - 2 * math.log(2))[inside])
