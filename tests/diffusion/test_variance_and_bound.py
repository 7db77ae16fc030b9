import math

import pytest
import torch
from tests.diffusion.closed_form import GAUSSIAN, Mixture, f64
from torch import nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.bound import bits_per_dimension
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.loss import denoising_loss
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import PredictData, PredictV
from fieldforge.diffusion.posterior import posterior_coefficients
from fieldforge.diffusion.sampler import Sampler
from fieldforge.diffusion.solvers.ancestral import Ancestral
from fieldforge.diffusion.solvers.learned_ancestral import LearnedAncestral
from fieldforge.diffusion.spacing import Uniform
from fieldforge.diffusion.thresholding import Clip, DynamicThreshold
from fieldforge.diffusion.variance import HybridLoss, LearnedVarianceModel, gaussian_divergence
from fieldforge.diffusion.weighting import UniformData, UniformV
from fieldforge.errors import UserError
from fieldforge.noise.processes import Cosine, Exponential, LinearInterpolation, VarianceExploding

NOTHING = Condition()


def test_posterior_is_the_product_of_the_two_gaussians():
    """q(x_s | x_t, x_0) ∝ q(x_t | x_s) q(x_s | x_0), multiplied by hand."""
    for process in (Cosine(), VarianceExploding(80.0, 7.0), LinearInterpolation()):
        times = f64([0.6, 0.35])
        (alpha, next_alpha), (sigma, next_sigma) = process.alpha(times).tolist(), process.sigma(times).tolist()
        step = posterior_coefficients(alpha, sigma, next_alpha, next_sigma)
        ratio = alpha / next_alpha
        forward = sigma**2 - ratio**2 * next_sigma**2
        precision = ratio**2 / forward + 1 / next_sigma**2
        assert math.isclose(step.variance, 1 / precision, rel_tol=1e-10)
        assert math.isclose(step.of_x_t, ratio / forward / precision, rel_tol=1e-10)
        assert math.isclose(step.of_x0, next_alpha / next_sigma**2 / precision, rel_tol=1e-10)
        assert math.isclose(step.forward_variance, forward, rel_tol=1e-12)


def test_gaussian_divergence_is_torch_s():
    mean, log_variance, model_log_variance = f64([0.3, -1.0]), f64([0.2, -2.0]), f64([-0.5, 1.0])
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(0 * mean, (log_variance / 2).exp()),
        torch.distributions.Normal(mean, (model_log_variance / 2).exp()),
    )
    torch.testing.assert_close(gaussian_divergence(mean, log_variance, model_log_variance), expected)


class Fixed(nn.Module):
    """x̂₀ = a · x, and one number as the raw variance output."""

    def __init__(self, channels=2, raw=0.0):
        super().__init__()
        self.gain = nn.Parameter(f64(0.5))
        self.raw = nn.Parameter(f64(raw))

    def forward(self, x, noise_level, condition):
        return torch.cat([self.gain * x, self.raw.expand_as(x)], dim=-1)


def draw(rows=6):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(rows, 3, 2, generator=generator, dtype=torch.float64) for _ in range(2))


def test_hybrid_loss_by_hand():
    """One walk of 10 steps, share 0.01, fraction ¼: every term again from torch's distributions."""
    x0, noise = draw()
    t = f64([0.15, 0.2, 0.55, 0.61, 0.97, 1.0])  # rounded up: 0.2, 0.2, 0.6, 0.7, 1.0, 1.0
    model = LearnedVarianceModel(Fixed(raw=-0.5), Cosine(), PredictData())
    loss = HybridLoss(discretization=10, share=0.01)(model, x0, noise, t, NOTHING, UniformData())
    for row, (now, before) in enumerate([(2, 1), (2, 1), (6, 5), (7, 6), (10, 9), (10, 9)]):
        times = f64([now / 10, before / 10])
        (alpha, next_alpha), (sigma, next_sigma) = (
            model.process.alpha(times).tolist(),
            model.process.sigma(times).tolist(),
        )
        step = posterior_coefficients(alpha, sigma, next_alpha, next_sigma)
        x_t = alpha * x0[row] + sigma * noise[row]
        estimate = 0.5 * x_t
        log_variance = 0.75 * math.log(step.variance) + 0.25 * math.log(step.forward_variance)
        truth = torch.distributions.Normal(step.of_x0 * x0[row] + step.of_x_t * x_t, step.variance**0.5)
        guess = torch.distributions.Normal(step.of_x0 * estimate + step.of_x_t * x_t, math.exp(log_variance / 2))
        divergence = torch.distributions.kl_divergence(truth, guess).mean()
        expected = (estimate - x0[row]).square().mean() + 0.01 * 10 * divergence
        assert math.isclose(float(loss[row].detach()), float(expected.detach()), rel_tol=1e-9)


def test_the_bound_trains_the_variance_alone():
    x0, noise = draw()
    t = f64([0.3] * 6)
    gradients = []
    for share in (0.0, 1.0):
        model = LearnedVarianceModel(Fixed(), Cosine(), PredictV())
        HybridLoss(100, share)(model, x0, noise, t, NOTHING, UniformV()).mean().backward()
        gradients.append((float(model.backbone.gain.grad), float(model.backbone.raw.grad)))
    (gain_without, raw_without), (gain_with, raw_with) = gradients
    assert gain_without == gain_with != 0
    assert raw_without == 0 != raw_with


def test_with_no_share_the_hybrid_is_the_plain_loss():
    x0, noise = draw()
    t = f64([0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    model = LearnedVarianceModel(Fixed(), Cosine(), PredictV())
    hybrid = HybridLoss(10, share=0.0)(model, x0, noise, t, NOTHING, UniformV())
    torch.testing.assert_close(hybrid, denoising_loss(model, x0, noise, t, NOTHING, UniformV()))


@pytest.mark.parametrize(("raw", "interpolation"), [(-1.0, 0.0), (1.0, 1.0), (0.0, 0.5)])
def test_learned_walk_with_a_constant_fraction_is_the_fixed_one(raw, interpolation):
    """raw -1 … 1 is fraction 0 … 1, over a strided walk, with guidance and thresholding in between."""
    noise = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = LearnedVarianceModel(Fixed(raw=raw), Exponential(12.0), PredictV())
    condition = Condition(vector=torch.zeros(4, 1))
    denoise = model.guided(ClassifierFree(2.0), condition, condition)
    walks = [
        Sampler(sampler, Uniform(), 9, threshold=Clip(3.0))(
            denoise, noise, model.process, torch.Generator().manual_seed(1)
        )
        for sampler in (LearnedAncestral(), Ancestral(interpolation))
    ]
    torch.testing.assert_close(*walks)
    torch.testing.assert_close(denoise(noise, f64([0.5] * 4)), model(noise, f64([0.5] * 4), condition))


def test_learned_walk_needs_a_learned_variance():
    noise = torch.zeros(1, 3, 2)
    with pytest.raises(UserError, match="needs the variance that loss=hybrid learns"):
        Sampler(LearnedAncestral(), Uniform(), 3)(lambda x, t: x, noise, Cosine(), torch.Generator())
    with pytest.raises(UserError, match="or choose sampler=ddpm"):
        Sampler(LearnedAncestral(), Uniform(), 3).rehearse(DiffusionModel, Cosine(), PredictV())
    Sampler(LearnedAncestral(), Uniform(), 3).rehearse(LearnedVarianceModel, Cosine(), PredictV())


def test_the_best_variance_is_learned():
    """For a Gaussian of variance v the reverse step's variance is known; the hybrid loss finds it."""
    variance, steps = 0.25, 5
    process = Exponential(4.0)
    step_times = f64([0.6, 0.4])
    (alpha, next_alpha), (sigma, next_sigma) = process.alpha(step_times).tolist(), process.sigma(step_times).tolist()
    step = posterior_coefficients(alpha, sigma, next_alpha, next_sigma)
    left = variance * sigma**2 / (alpha**2 * variance + sigma**2)  # Var[x0 | x_t]
    best = step.variance + step.of_x0**2 * left
    best_fraction = math.log(best / step.variance) / math.log(step.forward_variance / step.variance)

    class Optimal(Fixed):
        def forward(self, x, noise_level, condition):
            posterior = alpha * variance / (alpha**2 * variance + sigma**2)  # of x_t; the input is x_t itself here
            return torch.cat([posterior * x, self.raw.expand_as(x)], dim=-1)

    model = LearnedVarianceModel(Optimal(), process, PredictData())
    optimizer = torch.optim.Adam([model.backbone.raw], 0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x0, noise = (torch.randn(2000, 1, 2, generator=generator, dtype=torch.float64) for _ in range(2))
        loss = HybridLoss(steps, share=1.0)(
            model, variance**0.5 * x0, noise, torch.full((2000,), 0.6).double(), NOTHING, UniformData()
        )
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    assert abs(float((model.backbone.raw.detach() + 1) / 2) - best_fraction) < 0.03


def test_bound_by_hand():
    """x₀ = 1 in one dimension, x̂₀ = ½ always, two steps: each divergence from torch, the noise cancels."""
    process = LinearInterpolation()
    times = f64([0.9, 0.4, 0.0])
    x0 = torch.ones(1, 1, 1, dtype=torch.float64)
    bits = bits_per_dimension(lambda x, t: torch.full_like(x, 0.5), x0, process, times, torch.Generator())
    normal, divergence = torch.distributions.Normal, torch.distributions.kl_divergence
    prior = divergence(normal(f64(0.1), 0.9), normal(f64(0.0), math.sqrt(0.1**2 + 0.9**2)))
    ratio = 0.1 / 0.6  # α_t|s
    forward = 0.9**2 - ratio**2 * 0.4**2
    variance, of_x0 = forward * 0.4**2 / 0.9**2, 0.6 * forward / 0.9**2
    middle = divergence(normal(f64(of_x0 * 1.0), variance**0.5), normal(f64(of_x0 * 0.5), variance**0.5))
    last = -normal(f64(0.5), math.sqrt(0.4**2 / (0.6**2 + 0.4**2))).log_prob(f64(1.0))
    assert math.isclose(float(bits), float(prior + middle + last) / math.log(2), rel_tol=1e-9)


def test_bound_of_a_standard_normal_comes_down_to_its_entropy():
    """With SNR_i at the steps and the posterior variance 1 / (1 + SNR), the expected bound is a sum of few numbers; it
    lies above the entropy ½ log₂ 2πe by an amount that falls with the number of steps."""
    unit = Mixture(f64([1.0]), f64([[0.0, 0.0]]), torch.eye(2, dtype=torch.float64)[None])
    entropy = 0.5 * math.log2(2 * math.pi * math.e)
    generator = torch.Generator().manual_seed(0)
    x0 = unit.sample(5000, generator)
    for process in (Exponential(12.0), VarianceExploding(80.0, 7.0), LinearInterpolation()):
        excess = []
        for steps in (8, 64):
            log_snr = torch.linspace(-7, 6, steps, dtype=torch.float64)
            snr = log_snr.exp()
            divergences = 0.5 * (snr.diff() / (1 + snr[:-1])).sum()
            last = 0.5 * (torch.log(2 * math.pi / (1 + snr[-1])) + 1)
            expected = float(0.5 * torch.log1p(snr[0]) + divergences + last) / math.log(2)
            times = torch.cat([process.time_of_log_snr(log_snr), torch.zeros(1, dtype=torch.float64)])
            bound = float(bits_per_dimension(unit.denoiser(process), x0, process, times, generator).mean())
            assert abs(bound - expected) < 0.02 * expected
            excess.append(bound - entropy)
        assert excess[0] > 4 * excess[1] > 0


def test_a_worse_denoiser_has_a_worse_bound():
    generator = torch.Generator().manual_seed(0)
    x0, process = GAUSSIAN.sample(2000, generator), Exponential(12.0)
    times = Uniform().times(50, process)
    good = GAUSSIAN.denoiser(process)
    bounds = [
        float(bits_per_dimension(denoise, x0, process, times, torch.Generator().manual_seed(1)).mean())
        for denoise in (good, lambda x, t: 0.9 * good(x, t))
    ]
    assert bounds[0] < bounds[1]


def test_clip_and_dynamic_threshold():
    x0 = torch.linspace(-4, 4, 101).reshape(1, 101, 1).repeat(2, 1, 1)
    x0[1] *= 0.1
    assert Clip(1.5)(x0).abs().max() == 1.5
    kept = DynamicThreshold(quantile=0.9, limit=2.0)(x0)
    reach = torch.quantile(x0[0].abs(), 0.9)
    torch.testing.assert_close(kept[0], x0[0].clamp(-reach, reach) * 2 / reach)
    assert torch.equal(kept[1], x0[1])  # within the limit: as it was
    with pytest.raises(UserError, match="positive limit"):
        Clip(0.0)


def test_learned_variance_model_is_a_plain_denoiser_too():
    model = LearnedVarianceModel(Fixed(), Cosine(), PredictV())
    plain = DiffusionModel(lambda_backbone(), Cosine(), PredictV())
    x, t = torch.ones(2, 3, 2).double(), f64([0.3, 0.7])
    torch.testing.assert_close(model(x, t, NOTHING), plain(x, t, NOTHING))


def lambda_backbone():
    class Half(nn.Module):
        def forward(self, x, noise_level, condition):
            return 0.5 * x

    return Half()
