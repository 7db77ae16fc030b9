"""Sampler: a solver with its times and thresholding, as one configurable object."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import Denoiser, Watched
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import Parameterization
from fieldforge.diffusion.solvers.solver import Solver
from fieldforge.diffusion.spacing import Spacing
from fieldforge.diffusion.thresholding import Threshold, Thresholded
from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Steps

NOTHING = Condition()


@dataclass(frozen=True)
class Sampler:
    """`steps` steps of `solver` at the times of `spacing`; `threshold`, if given, keeps each estimate in range."""

    solver: Solver
    spacing: Spacing
    steps: Steps
    threshold: Threshold | None = None

    def rehearse(self, kind: type[DiffusionModel], process: Process, parameterization: Parameterization) -> None:
        """UserError where this sampler cannot sample models of this kind; it tests a backbone with output zero."""
        denoise = kind(_Nothing(kind.outputs), process, parameterization).guided(ClassifierFree(), NOTHING, NOTHING)
        self(denoise, torch.zeros(1, 1, 1), process, torch.Generator())

    def evaluations(self, model: DiffusionModel, strength: float = 1.0) -> int:
        """Number of denoiser evaluations of one sample; with `strength` below 1, of a variation."""
        nothing = type(model)(_Nothing(model.outputs), model.process, model.parameterization)
        counts: list[int] = []
        denoise = Watched(nothing.guided(ClassifierFree(), NOTHING, NOTHING), lambda count, _: counts.append(count))
        zeros, randomness = torch.zeros(1, 1, 1), torch.Generator()
        if strength < 1:
            self.vary(denoise, zeros, zeros, model.process, randomness, strength)
        else:
            self(denoise, zeros, model.process, randomness)
        return len(counts)

    @torch.no_grad()
    def __call__(self, denoise: Denoiser, noise: Tensor, process: Process, randomness: Randomness) -> Tensor:
        """noise (B, T, C) standard normal → x0 (B, T, C)."""
        return self._sample(denoise, noise, process, self.spacing.times(self.steps, process), randomness)

    @torch.no_grad()
    def vary(
        self,
        denoise: Denoiser,
        latents: Tensor,
        noise: Tensor,
        process: Process,
        randomness: Randomness,
        strength: float,
    ) -> Tensor:
        """Variations of `latents` (B, T, C): noised, then denoised (SDEdit, Meng et al. 2022, alg. 1) → x0 (B, T, C).

        `strength` in (0, 1] sets the initial noise level σ/α = tan(strength · π/2), under every process. Only the steps
        below this level are taken.
        """
        if not 0 < strength <= 1:
            raise UserError(f"strength={strength:g} must be above 0 (the given shape) and at most 1 (a new one)")
        log_snr = -2 * math.log(math.tan(strength * math.pi / 2))
        start = process.time_of_log_snr(torch.tensor([log_snr], dtype=torch.float64))  # (1,)
        times = self.spacing.times(self.steps, process)  # (steps + 1,)
        start = torch.minimum(start, times[:1])
        x_t = process.add_noise(latents, noise, start.expand(len(latents)))  # (B, T, C)
        # Samplers scale what they start from to the variance that data have there: it is scaled back before.
        scale = float(process.alpha(start) ** 2 + process.sigma(start) ** 2) ** 0.5
        return self._sample(denoise, x_t / scale, process, torch.cat([start, times[times < start]]), randomness)

    def _sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        if self.threshold is not None:
            denoise = Thresholded(denoise, self.threshold)
        return self.solver.sample(denoise, noise, process, times, randomness)


class _Nothing(nn.Module):
    """A backbone whose output is zero."""

    def __init__(self, outputs: int):
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor, noise_level: Tensor, condition: Condition) -> Tensor:
        return torch.zeros_like(x).repeat(1, 1, self.outputs)  # (B, T, outputs · C)
