"""Progressive distillation: one step of the student is several of its teacher's (Salimans & Ho 2022)."""

import torch
from torch import Tensor

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.weighting import Weighting
from fieldforge.errors import UserError
from fieldforge.noise.process import Process, like


def student_intervals(times: Tensor, substeps: int) -> Tensor:
    """The teacher's times (N · substeps + 1,) → those within each of the student's N steps, (N, substeps + 1)."""
    if substeps < 1 or (len(times) - 1) % substeps:
        raise UserError(f"{len(times) - 1} steps of a teacher are no multiple of {substeps}: choose others")
    return times.unfold(0, substeps + 1, substeps)


@torch.no_grad()
def distillation_target(teacher: Denoiser, x_t: Tensor, times: Tensor, process: Process) -> Tensor:
    """The estimate with which a single DDIM step reaches the result of the teacher's steps.

    Ibid., algorithm 2, for any number of the teacher's steps.

    Args:
        teacher: a denoiser.
        x_t: (B, T, C) at times[:, 0].
        times: (B, steps + 1), descending within each row; the last may be 0.
        process: of x_t.

    Returns:
        x̃₀ (B, T, C).
    """
    alpha, sigma = process.alpha(times), process.sigma(times)  # (B, steps + 1) each
    x = x_t
    for step in range(times.shape[1] - 1):
        x0 = teacher(x, times[:, step])  # (B, T, C)
        ratio = like(sigma[:, step + 1] / sigma[:, step], x)  # (B, 1, 1)
        x = like(alpha[:, step + 1], x) * x0 + ratio * (x - like(alpha[:, step], x) * x0)
    ratio = sigma[:, -1] / sigma[:, 0]  # (B,)
    return (x - like(ratio, x) * x_t) / like(alpha[:, -1] - ratio * alpha[:, 0], x)


def distillation_loss(
    student: DiffusionModel,
    teacher: Denoiser,
    x0: Tensor,
    noise: Tensor,
    times: Tensor,
    condition: Condition,
    weighting: Weighting,
) -> Tensor:
    """w(λ) · mean (x̂₀ - x̃₀)² of every sample (ibid., eq. 9): x0, noise (B, T, C), times (B, steps + 1) → (B,)."""
    t = times[:, 0]
    x_t = student.process.add_noise(x0, noise, t)  # (B, T, C)
    target = distillation_target(teacher, x_t, times, student.process)  # (B, T, C)
    squared_error = (student(x_t, t, condition) - target).square().flatten(1).mean(dim=1)  # (B,)
    weight = torch.exp(weighting.log_weight(student.process.log_snr(t)))  # (B,)
    return like(weight, squared_error) * squared_error
