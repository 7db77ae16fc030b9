"""diffusers as the independent implementation: same network, same noise, same times → the same trajectory.

Each scheduler lays out its own grid; ours is handed that grid's α and σ, so that what is compared is the sampler.
"""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import Preconditioned, PredictNoise, PredictV, PredictVelocity
from fieldforge.diffusion.solvers.ancestral import Ancestral
from fieldforge.diffusion.solvers.coordinates import Straight
from fieldforge.diffusion.solvers.ddim import DDIM
from fieldforge.diffusion.solvers.dpm_solver import DPMSolver
from fieldforge.diffusion.solvers.heun import Euler, Heun
from fieldforge.diffusion.solvers.unipc import UniPC
from fieldforge.diffusion.spacing import Karras, Shifted, Uniform
from fieldforge.noise.process import Process
from fieldforge.noise.processes import LinearInterpolation, VarianceExploding

SHAPE = (3, 4, 5)
V = dict(prediction_type="v_prediction")  # a bounded v keeps x of order 1, where 1e-4 means something
TOLERANCE = dict(rtol=0, atol=1e-4)


class Table(Process):
    """A process known at steps + 1 times only, the last one clean."""

    def __init__(self, alpha, sigma):
        self.tables = torch.as_tensor(np.append(alpha, 1.0)), torch.as_tensor(np.append(sigma, 0.0))
        self.times = torch.linspace(1, 0, len(self.tables[0]), dtype=torch.float64)

    @classmethod
    def variance_preserving(cls, ratio):
        """From σ/α."""
        ratio = np.asarray(ratio, dtype=np.float64)
        return cls(1 / np.sqrt(1 + ratio**2), ratio / np.sqrt(1 + ratio**2))

    def index(self, t):
        return ((1 - t.double()) * (len(self.times) - 1)).round().long()

    def alpha(self, t):
        return self.tables[0][self.index(t)].to(t.dtype)

    def sigma(self, t):
        return self.tables[1][self.index(t)].to(t.dtype)

    def time_of_log_snr(self, log_snr):
        raise NotImplementedError("samplers walk the given times")


def network(x, level):
    """Not linear, different for every channel and noise level, of order 1."""
    waves = torch.linspace(0.3, 1.2, x.shape[-1])
    return torch.tanh(waves * x + 0.2 * x.roll(1, dims=1) - level) + 0.1 * x


class Walk:
    """Our side: a denoiser on a table, that writes down every x_t it is asked about."""

    def __init__(self, process, levels, parameterization):
        self.process, self.levels, self.visited = process, levels, []
        self.parameterization = parameterization

    def __call__(self, x, t):
        self.visited.append(x)
        output = network(x, self.levels[int(self.process.index(t)[0])])
        return self.parameterization.denoised(output, x, self.process.alpha(t), self.process.sigma(t))

    def run(self, sampler, noise, seed=0):
        return sampler.sample(self, noise, self.process, self.process.times, torch.Generator().manual_seed(seed))


def noise():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def diffusers_walk(scheduler, x, level_of, needs_generator=False):
    """Their side. Returns the x handed to the network at every evaluation, and the last one."""
    generator = torch.Generator().manual_seed(0)
    visited = []
    for step, t in enumerate(scheduler.timesteps):
        scale_input = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        visited.append(scale_input)
        extra = {"generator": generator} if needs_generator else {}
        x = scheduler.step(network(scale_input, level_of(step, t)), t, x, **extra).prev_sample
    return visited, x


def ratio_of(scheduler, timesteps):
    cumulative = scheduler.alphas_cumprod[timesteps].double().numpy()
    return np.sqrt((1 - cumulative) / cumulative)


def assert_same(ours, theirs):
    (our_path, our_end), (their_path, their_end) = ours, theirs
    assert len(our_path) == len(their_path)
    for step, (a, b) in enumerate(zip(our_path, their_path, strict=True)):
        torch.testing.assert_close(a, b, **TOLERANCE, msg=lambda m, step=step: f"step {step}: {m}")
    torch.testing.assert_close(our_end, their_end, **TOLERANCE)


PREDICTIONS = {"epsilon": PredictNoise(), "v_prediction": PredictV()}


def compare_variance_preserving(scheduler, sampler, steps, needs_generator=False):
    scheduler.set_timesteps(steps)
    levels = [float(t) / 1000 for t in scheduler.timesteps]
    prediction = PREDICTIONS[scheduler.config.prediction_type]
    walk = Walk(Table.variance_preserving(ratio_of(scheduler, scheduler.timesteps.long())), levels, prediction)
    end = walk.run(sampler, noise())
    theirs = diffusers_walk(scheduler, noise(), lambda step, t: float(t) / 1000, needs_generator)
    assert_same((walk.visited, end), theirs)


def test_ddpm():
    scheduler = DDPMScheduler(clip_sample=False, timestep_spacing="trailing", **V, variance_type="fixed_small")
    compare_variance_preserving(scheduler, Ancestral(0.0), 25, needs_generator=True)


def test_ddpm_with_the_large_variance():
    """Differs on purpose in one thing: theirs adds noise of variance β to the very last sample, where t is not their 0;
    ours ends, as algorithm 2 of the paper says, with the mean."""
    scheduler = DDPMScheduler(clip_sample=False, timestep_spacing="trailing", **V, variance_type="fixed_large")
    scheduler.set_timesteps(25)
    levels = [float(t) / 1000 for t in scheduler.timesteps]
    walk = Walk(Table.variance_preserving(ratio_of(scheduler, scheduler.timesteps)), levels, PredictV())
    end = walk.run(Ancestral(1.0), noise())
    path, _ = diffusers_walk(scheduler, noise(), lambda step, t: float(t) / 1000, needs_generator=True)
    last = scheduler.timesteps[-1]
    mean = scheduler.step(network(path[-1], float(last) / 1000), last, path[-1]).pred_original_sample
    assert_same((walk.visited, end), (path, mean))


def test_ddim_from_noise_prediction():
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="leading", steps_offset=1)
    compare_variance_preserving(scheduler, DDIM(0.0), 20)


@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
def test_ddim(beta_schedule):
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing", **V, beta_schedule=beta_schedule)
    compare_variance_preserving(scheduler, DDIM(0.0), 20)


def test_ddim_with_noise():
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing="trailing", **V)
    scheduler.set_timesteps(20)
    levels = [float(t) / 1000 for t in scheduler.timesteps]
    walk = Walk(Table.variance_preserving(ratio_of(scheduler, scheduler.timesteps)), levels, PredictV())
    end = walk.run(DDIM(0.6), noise())
    generator, x, path = torch.Generator().manual_seed(0), noise(), []
    for t in scheduler.timesteps:
        path.append(x)
        x = scheduler.step(network(x, float(t) / 1000), t, x, eta=0.6, generator=generator).prev_sample
    assert_same((walk.visited, end), (path, x))


@pytest.mark.parametrize("stochastic", [False, True])
def test_dpm_solver(stochastic):
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++",
        solver_order=2,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        **V,
    )
    compare_variance_preserving(scheduler, DPMSolver(stochastic), 20, needs_generator=stochastic)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(order):
    scheduler = UniPCMultistepScheduler(
        solver_order=order, solver_type="bh2", timestep_spacing="trailing", final_sigmas_type="zero", **V
    )
    compare_variance_preserving(scheduler, UniPC(order), 20)


def test_heun_on_karras_levels():
    """Theirs walks y = x/α of our α = 1 process; the network sees y / √(1 + σ²), the variance-preserving x."""
    scheduler = HeunDiscreteScheduler(use_karras_sigmas=True, **V)
    scheduler.set_timesteps(12)
    sigmas = np.append(scheduler.sigmas[0], scheduler.sigmas[1:-1:2])  # each but the first stands twice
    levels = [float(t) / 1000 for t in np.append(scheduler.timesteps[0], scheduler.timesteps[1::2])]
    walk = Walk(Table.variance_preserving(sigmas), levels, PredictV())
    end = walk.run(Heun(), noise())
    start = noise() * float(np.sqrt(1 + sigmas[0] ** 2))
    theirs = diffusers_walk(scheduler, start, lambda step, t: float(t) / 1000)
    assert_same((walk.visited, end), theirs)


def test_euler():
    scheduler = EulerDiscreteScheduler(timestep_spacing="trailing", **V)
    scheduler.set_timesteps(20)
    sigmas = scheduler.sigmas[:-1].numpy()
    levels = [float(t) / 1000 for t in scheduler.timesteps]
    walk = Walk(Table.variance_preserving(sigmas), levels, PredictV())
    end = walk.run(Euler(), noise())
    start = noise() * float(np.sqrt(1 + sigmas[0] ** 2))
    assert_same((walk.visited, end), diffusers_walk(scheduler, start, lambda step, t: float(t) / 1000))


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.visited = []

    def forward(self, x, noise_level, condition):
        self.visited.append(x)
        return network(x, noise_level[:, None, None])


def test_edm_euler_with_preconditioning():
    """The whole road: process, spacing, preconditioning and step. σ_data is 1 here, since our input scale assumes data
    of unit variance whatever σ_data is; with it, theirs has the same."""
    sigma_max = 80.0
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=sigma_max, sigma_data=1.0, rho=7.0)
    scheduler.set_timesteps(16)
    process = VarianceExploding(sigma_max, 7.0)
    model = DiffusionModel(Backbone(), process, Preconditioned(1.0))
    times = Karras(0.002, sigma_max, 7.0).times(16, process)
    end = Euler().sample(lambda x, t: model(x, t, Condition()), noise(), process, times, torch.Generator())
    theirs = diffusers_walk(scheduler, noise() * scheduler.init_noise_sigma, lambda step, t: float(t))
    assert_same((model.backbone.visited, end), theirs)


def flow_walk(sampler, sigmas):
    path = []
    process = LinearInterpolation()

    def denoise(x, t):
        path.append(x)
        return PredictVelocity().denoised(network(x, float(t[0])), x, process.alpha(t), process.sigma(t))

    times = torch.as_tensor(np.append(sigmas, 0.0), dtype=torch.float64)
    return path, sampler.sample(denoise, noise(), process, times, torch.Generator())


def flow_start(first):
    """Ours starts with the variance of x_t at the first time; theirs, written for t = 1, with 1."""
    return noise() * float(np.sqrt(first**2 + (1 - first) ** 2))


def test_flow_euler():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(14)
    sigmas = scheduler.sigmas[:-1].double().numpy()
    theirs = diffusers_walk(scheduler, flow_start(sigmas[0]), lambda step, t: float(t) / 1000)
    assert_same(flow_walk(Euler(Straight()), sigmas), theirs)


def test_flow_heun():
    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(10)
    sigmas = np.append(scheduler.sigmas[0], scheduler.sigmas[1:-1:2])
    theirs = diffusers_walk(scheduler, flow_start(float(sigmas[0])), lambda step, t: float(t) / 1000)
    assert_same(flow_walk(Heun(Straight()), sigmas), theirs)


def test_shifted_times_are_those_of_stable_diffusion_3():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 28, 28))
    times = Shifted(Uniform(), 3.0).times(28, LinearInterpolation())
    torch.testing.assert_close(times.float(), scheduler.sigmas, rtol=1e-6, atol=1e-6)
