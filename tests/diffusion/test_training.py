"""Every prediction and process learns a 2-D mixture down to the loss that closed form says is possible."""

import pytest
import torch
from tests.diffusion.closed_form import RING
from torch import nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.loss import denoising_loss, output_weight
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import (
    Preconditioned,
    PredictData,
    PredictNoise,
    PredictV,
    PredictVelocity,
)
from fieldforge.diffusion.weighting import EDM, UniformData, UniformNoise, UniformV, UniformVelocity
from fieldforge.nn.embeddings import sinusoidal_embedding
from fieldforge.noise.densities import LogNormalSigma, UniformTime
from fieldforge.noise.processes import Cosine, Exponential, Linear, LinearInterpolation, VarianceExploding
from fieldforge.noise.randomness import StepRandomness

OBJECTIVES = [
    (PredictNoise(), UniformNoise()),
    (PredictData(), UniformData()),
    (PredictV(), UniformV()),
    (PredictVelocity(), UniformVelocity()),
    (Preconditioned(0.5), EDM(0.5)),
]
PROCESSES = [Linear(), Cosine(), Exponential(12.0), VarianceExploding(80.0, 7.0), LinearInterpolation()]
NOTHING = Condition()


class Perceptron(nn.Module):
    """The smallest backbone that can do it: (x, noise level) → output, one token of two channels."""

    def __init__(self, width=64, waves=16):
        super().__init__()
        self.waves = waves
        self.layers = nn.Sequential(
            nn.Linear(2 + waves, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width),
            nn.SiLU(), nn.Linear(width, 4),
        )  # fmt: skip

    def forward(self, x, noise_level, condition):
        level = sinusoidal_embedding(noise_level, self.waves, highest=8.0)
        shift, gain = self.layers(torch.cat([x, level[:, None]], dim=-1)).chunk(2, dim=-1)  # (B, 1, 2) each
        return shift + gain * x


def draw(count, process, density, generator):
    x0 = RING.sample(count, generator).float()
    noise = torch.randn(x0.shape, generator=generator)
    step = StepRandomness(int(torch.randint(2**31, (), generator=generator)), 0, range(count), count)
    return x0, noise, density.times(step.stratified(), process, x0.shape[1])


def optimal_loss(x0, noise, t, process, parameterization, weighting):
    """The same weighted error, of the posterior mean."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    x_t = process.add_noise(x0.double(), noise.double(), t)
    best = RING.denoised(x_t, alpha, sigma)  # (B, 1, 2)
    implied = (x_t - alpha[:, None, None] * best) / sigma[:, None, None]
    output = parameterization.target(best, implied, alpha, sigma)
    target = parameterization.target(x0.double(), noise.double(), alpha, sigma)
    return output_weight(t, process, parameterization, weighting) * (output - target).square().flatten(1).mean(dim=1)


@pytest.mark.parametrize("further", [0, 1])
@pytest.mark.parametrize("number", range(len(OBJECTIVES)), ids=lambda number: type(OBJECTIVES[number][0]).__name__)
def test_training_reaches_the_optimal_loss(number, further):
    """Each prediction under two processes, each process with two predictions; below, the others follow from these."""
    (parameterization, weighting), process = OBJECTIVES[number], PROCESSES[(number + further) % len(PROCESSES)]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    # In t, the exploding process spends most of its time where there is nothing to learn: EDM's density is its own.
    density = LogNormalSigma(-0.5, 1.2) if isinstance(process, VarianceExploding) else UniformTime()
    model = DiffusionModel(Perceptron(), process, parameterization)
    # Noise is almost all of the input, so that its optimal loss is small and 5 % of it takes longer to reach.
    steps = 1200 if isinstance(parameterization, PredictNoise) else 500
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-2, total_steps=steps)
    for _ in range(steps):
        loss = denoising_loss(model, *draw(256, process, density, generator), NOTHING, weighting).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    x0, noise, t = draw(40_000, process, density, generator)
    with torch.no_grad():
        reached = denoising_loss(model, x0, noise, t, NOTHING, weighting).double().mean()
    best = optimal_loss(x0, noise, t, process, parameterization, weighting).mean()
    assert 0.99 * best < reached < 1.05 * best


def test_loss_is_the_weighted_error_of_the_denoised_estimate():
    """Whatever the parameterization: w · mean (x̂₀ - x₀)², the definition that the weightings are written for."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    for parameterization, _ in OBJECTIVES:
        for weighting in (UniformNoise(), UniformData(), EDM(0.5)):
            model = DiffusionModel(Perceptron(), Cosine(), parameterization).double()
            x0, noise, t = (value.double() for value in draw(16, model.process, UniformTime(), generator))
            t = 0.05 + 0.9 * t
            loss = denoising_loss(model, x0, noise, t, NOTHING, weighting)
            x_t = model.process.add_noise(x0, noise, t)
            error = (model(x_t, t, NOTHING) - x0).square().flatten(1).mean(dim=1)
            torch.testing.assert_close(loss, weighting.log_weight(model.process.log_snr(t)).exp() * error)


def test_a_model_means_the_same_under_another_process():
    """At equal log-SNR, x_t differs by a factor alone; the same weights then say the same of x₀."""
    torch.manual_seed(0)
    backbone = Perceptron().double()
    log_snr = torch.linspace(-3, 3, 7, dtype=torch.float64)
    unit = torch.randn(7, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for parameterization, _ in OBJECTIVES:
        estimates = []
        for process in PROCESSES:
            t = process.time_of_log_snr(log_snr)
            scale = torch.sqrt(process.alpha(t) ** 2 + process.sigma(t) ** 2)[:, None, None]
            estimates.append(DiffusionModel(backbone, process, parameterization)(scale * unit, t, NOTHING))
        for other in estimates[1:]:
            torch.testing.assert_close(other, estimates[0], rtol=1e-7, atol=1e-9)
