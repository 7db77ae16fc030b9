"""Learned variance of the reverse process: Improved DDPM (Nichol & Dhariwal 2021), section 3.1.

The backbone has twice the output channels: F, and for each channel the fraction that places the log-variance between
those of β̃ and β.
"""

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import Denoiser, Estimate, Guidance
from fieldforge.diffusion.loss import output_weight
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.posterior import posterior_coefficients
from fieldforge.diffusion.weighting import Weighting
from fieldforge.errors import UserError
from fieldforge.noise.process import Process, like
from fieldforge.ranges import Count, NotNegative


class LearnedVarianceModel(DiffusionModel):
    """A `DiffusionModel` whose backbone has output_channels = 2 C. As a denoiser it is like any other."""

    outputs = 2

    def split(self, x_t: Tensor, t: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """(F, fraction), each (B, T, C); fraction 0 means β̃, 1 means β (ibid., eq. 15, with v = fraction)."""
        output, variance = super().output(x_t, t, condition).chunk(2, dim=-1)
        return output, (variance + 1) / 2

    def output(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.split(x_t, t, condition)[0]

    def guided(self, guidance: Guidance, condition: Condition, null: Condition) -> Denoiser:
        return VarianceDenoiser(self, guidance, condition, null)


class VarianceDenoiser:
    """A guided denoiser whose estimate includes the variance fraction.

    Guidance changes the mean alone. The fraction is that of the first B rows of the evaluation: the conditional rows.
    """

    def __init__(self, model: LearnedVarianceModel, guidance: Guidance, condition: Condition, null: Condition):
        self.model, self.guidance, self.condition, self.null = model, guidance, condition, null

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.estimate(x_t, t).x0

    def estimate(self, x_t: Tensor, t: Tensor) -> Estimate:
        evaluation = _Evaluation(self.model)
        x0 = self.guidance(evaluation, self.condition, self.null)(x_t, t)
        return Estimate(x0, evaluation.fractions[0][: len(x_t)])


class _Evaluation:
    """The model within one guided evaluation: it hands the mean to guidance and keeps the fractions."""

    def __init__(self, model: LearnedVarianceModel):
        self.model = model
        self.fractions: list[Tensor] = []

    @property
    def process(self) -> Process:
        return self.model.process

    def __call__(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        output, fraction = self.model.split(x_t, t, condition)
        self.fractions.append(fraction)
        return self.model.parameterization.denoised(output, x_t, self.process.alpha(t), self.process.sigma(t))


class HybridLoss:
    """The denoising loss plus `share` · the variational bound, which alone trains the variance (ibid., eq. 16).

    Called like `denoising_loss`. Times are rounded up to `discretization` discrete steps, whose variance is learned;
    the last step, which draws nothing, is left out. The bound is a sum over these steps and would dominate the other
    term: the paper's share is 1e-3. Gradients of the bound do not reach the mean.
    """

    model = LearnedVarianceModel

    def __init__(self, discretization: Count = 1000, share: NotNegative = 1e-3):
        if discretization < 2 or share < 0:
            raise UserError(f"HybridLoss needs 2 steps and a share of 0 at least, got {discretization} and {share}")
        self.discretization = discretization
        self.share = share

    def __call__(
        self,
        model: LearnedVarianceModel,
        x0: Tensor,
        noise: Tensor,
        t: Tensor,
        condition: Condition,
        weighting: Weighting,
    ) -> Tensor:
        """x0 (B, T, C), noise (B, T, C), t (B,) → (B,)."""
        process, parameterization = model.process, model.parameterization
        index = (t.double() * self.discretization).ceil().clamp(2, self.discretization)  # (B,)
        t, s = index / self.discretization, (index - 1) / self.discretization  # (B,) each
        alpha, sigma = process.alpha(t), process.sigma(t)
        x_t = process.add_noise(x0, noise, t)  # (B, T, C)
        output, fraction = model.split(x_t, t, condition)  # (B, T, C) each

        target = parameterization.target(x0, noise, alpha, sigma)
        squared_error = (output - target).square().flatten(1).mean(dim=1)  # (B,)
        simple = like(output_weight(t, process, parameterization, weighting), squared_error) * squared_error

        step = posterior_coefficients(alpha, sigma, process.alpha(s), process.sigma(s))
        estimate = parameterization.denoised(output.detach(), x_t, alpha, sigma)  # (B, T, C)
        shift = like(step.of_x0, x0) * (x0 - estimate)  # (B, T, C), between the two means
        log_variance = interpolate(like(step.variance.log(), x0), like(step.forward_variance.log(), x0), fraction)
        divergence = gaussian_divergence(shift, like(step.variance.log(), x0), log_variance)  # (B, T, C)
        return simple + self.share * self.discretization * divergence.flatten(1).mean(dim=1)


def interpolate(low: Tensor, high: Tensor, fraction: Tensor) -> Tensor:
    """Log-variance at `fraction` of the way from β̃'s to β's (ibid., eq. 15)."""
    return low + fraction * (high - low)


def gaussian_divergence(shift: Tensor, log_variance: Tensor, model_log_variance: Tensor) -> Tensor:
    """KL(N(m, v) ‖ N(m + shift, w)) in nats, elementwise, from ln v and ln w."""
    ratio = torch.exp(log_variance - model_log_variance)
    return 0.5 * (model_log_variance - log_variance + ratio + shift**2 * torch.exp(-model_log_variance) - 1)
