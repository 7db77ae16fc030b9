import math

import pytest
import torch
from tests.diffusion.closed_form import RING

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.distillation import distillation_loss, distillation_target, student_intervals
from fieldforge.diffusion.guidance.baked import Baked
from fieldforge.diffusion.solvers.ddim import DDIM
from fieldforge.diffusion.spacing import Power, Uniform
from fieldforge.diffusion.weighting import UniformV
from fieldforge.errors import UserError
from fieldforge.noise.processes import Exponential, LinearInterpolation, VarianceExploding

PROCESSES = [Exponential(12.0), LinearInterpolation(), VarianceExploding(80.0, 7.0)]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_one_step_with_the_target_lands_where_the_teacher_s_walk_does(process):
    """The walk is that of the sampler, whose steps are written differently; the one step too."""
    teacher = RING.denoiser(process)
    times = Uniform(50.0).times(12, process)
    intervals = student_intervals(times, 4)  # (3, 5)
    generator = torch.Generator().manual_seed(0)
    for walk in intervals:
        alpha, sigma = process.alpha(walk), process.sigma(walk)
        noise = torch.randn(5, 1, 2, generator=generator, dtype=torch.float64)
        x_t = (alpha[0] ** 2 + sigma[0] ** 2) ** 0.5 * noise
        target = distillation_target(teacher, x_t, walk.expand(5, -1), process)

        def landed(denoise, among, noise=noise):
            return DDIM().sample(denoise, noise, process, among, generator)

        torch.testing.assert_close(landed(lambda x, t, t0=target: t0, walk[[0, -1]]), landed(teacher, walk))


def test_rows_of_a_batch_walk_by_themselves():
    process = Exponential(12.0)
    teacher = RING.denoiser(process)
    intervals = student_intervals(Power().times(8, process), 2)  # (4, 3)
    x_t = torch.randn(4, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = distillation_target(teacher, x_t, intervals, process)
    alone = [distillation_target(teacher, x_t[i : i + 1], intervals[i : i + 1], process) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_a_single_substep_asks_the_student_for_the_teacher_s_estimate():
    """And a student that is its teacher has no loss then; with more substeps it has."""
    process = Exponential(12.0)
    teacher = RING.denoiser(process)

    class Student:
        def __init__(self):
            self.process = process

        def __call__(self, x_t, t, condition):
            return teacher(x_t, t)

    x0 = RING.sample(4, torch.Generator().manual_seed(0))
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    losses = []
    for substeps in (1, 4):
        times = student_intervals(Power(sigma_max=40.0).times(4 * substeps, process), substeps)
        losses.append(distillation_loss(Student(), teacher, x0, noise, times, Condition(), UniformV()))
    torch.testing.assert_close(losses[0], torch.zeros(4).double(), rtol=0, atol=1e-20)
    assert losses[1].sum() > 1e-3


def test_times_of_few_steps_are_among_those_of_many():
    for process in PROCESSES:
        many, few = Power(0.1, 50.0).times(12, process), Power(0.1, 50.0).times(4, process)
        torch.testing.assert_close(many[::3], few)
        ceiling = math.exp(-float(process.log_snr(torch.ones(1).double())) / 2)
        ratio = torch.exp(-process.log_snr(few[:-1]) / 2)
        ramp = torch.tensor([1.0, 0.75, 0.5, 0.25]).double()
        expected = 0.1 + (min(50.0, ceiling) - 0.1) * ramp**3
        torch.testing.assert_close(ratio, expected)
        assert few[-1] == 0


def test_steps_must_divide():
    with pytest.raises(UserError, match="no multiple of 3"):
        student_intervals(Uniform().times(4, PROCESSES[0]), 3)


def test_baked_guidance_knows_its_scale_and_the_unconditional_model():
    condition, null = Condition(torch.ones(1, 2)), Condition(torch.zeros(1, 2))

    def model(x_t, t, steering):
        return x_t + steering.vector.sum()

    x_t, t = torch.zeros(1, 1, 1), torch.zeros(1)
    assert Baked(3.0, 3.0)(model, condition, null)(x_t, t).item() == 2
    assert Baked(0.0, 3.0)(model, condition, null)(x_t, t).item() == 0
    with pytest.raises(UserError, match="distilled at guidance 3 and knows no guidance=2"):
        Baked(2.0, 3.0)
