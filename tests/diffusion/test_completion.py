"""Known tokens stay, and lie under the noise of each step, whatever the solver."""

import pytest
import torch
from tests.diffusion.test_solvers import KARRAS, PROCESSES, SAMPLERS, named

from fieldforge.diffusion.completion import Completion
from fieldforge.diffusion.denoiser import Estimate
from fieldforge.diffusion.sampler import Sampler
from fieldforge.diffusion.solvers.heun import Heun
from fieldforge.noise.process import like

ROWS, T, C = 400, 3, 2
ANEW = torch.tensor([False, True, False])


def state(rows=ROWS):
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(1, T, C, generator=generator, dtype=torch.float64)
    return known, torch.randn(rows, T, C, generator=generator, dtype=torch.float64), generator


def independent(process):
    """The exact denoiser of standard normal data, where no token says anything of another."""

    def denoise(x_t, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        return like(alpha / (alpha**2 + sigma**2), x_t) * x_t

    return denoise


@pytest.mark.parametrize("process", PROCESSES, ids=named)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
def test_known_tokens_stay_and_are_seen_under_the_noise_of_each_step(sampler, process):
    known, noise, generator = state()
    deviations = []

    def watch(x_t, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        left = (x_t - like(alpha, x_t) * known) / like(sigma, x_t)  # the noise that x_t holds, if x0 is known
        if alpha[0] ** 2 < 0.5 * (alpha[0] ** 2 + sigma[0] ** 2):  # at the very end solvers differ by their last step
            deviations.append(left[:, ~ANEW].flatten().std())
        return independent(process)(x_t, t)

    drawn = sampler(Completion(watch, known, ANEW), noise, process, generator)
    torch.testing.assert_close(drawn[:, ~ANEW], known[:, ~ANEW].expand(ROWS, -1, -1), atol=1e-9, rtol=0)
    assert len(deviations) > 5
    assert 0.85 < min(deviations) <= max(deviations) < 1.15


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_tokens_that_do_not_depend_on_known_ones_are_drawn_as_without(process):
    known, noise, generator = state(4)
    sampler, denoise = Sampler(Heun(), KARRAS, 20), independent(process)
    free = sampler(denoise, noise, process, generator)
    completed = sampler(Completion(denoise, known, ANEW), noise, process, generator)
    torch.testing.assert_close(completed[:, ANEW], free[:, ANEW])


def test_tokens_that_equal_known_ones_are_drawn_equal():
    """Data whose three tokens are one: the mean of what is seen, and what is known of it, decides."""
    known, noise, generator = state(4)
    known = known[:, :1].expand(-1, T, -1)
    process = PROCESSES[-1]

    def denoise(x_t, t):
        alpha, sigma = process.alpha(t), process.sigma(t)
        weight = T * alpha / (T * alpha**2 + sigma**2)  # the posterior mean of N(0, 1) seen T times
        return (like(weight, x_t) * x_t.mean(1, keepdim=True)).expand(-1, T, -1)

    sampler = Sampler(Heun(), KARRAS, 40)
    drawn = sampler(Completion(denoise, known, ANEW), noise, process, generator)
    free = sampler(denoise, noise, process, generator)
    assert (drawn - known)[:, ANEW].abs().mean() < 0.3 * (free - known)[:, ANEW].abs().mean()


def test_a_learned_variance_comes_through():
    known, noise, _ = state(2)

    class Learned:
        def estimate(self, x_t, t):
            return Estimate(x_t, torch.ones_like(x_t))

    result = Completion(Learned(), known, ANEW).estimate(noise, torch.zeros(2))
    assert result.fraction is not None
    assert torch.equal(result.x0[:, ANEW], noise[:, ANEW])
