"""UniPC: a multistep predictor whose next evaluation also corrects the step before."""

import math

import torch
from torch import Tensor

from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.solvers.solver import Grid, at
from fieldforge.errors import UserError
from fieldforge.noise.process import Process
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Count


class UniPC:
    """Zhao et al. 2023, "UniPC", algorithms 3 and 4 (data prediction), with B(h) = e^-h - 1 ("bh2").

    `order` is the predictor's; the corrector's is one higher. A step costs one evaluation. The first steps and the
    last, where log-SNR jumps to infinity, are of lower order.
    """

    def __init__(self, order: Count = 2):
        if order not in (1, 2, 3):
            raise UserError(f"UniPC has orders 1, 2 and 3, got {order}")
        self.order = order

    def sample(
        self, denoise: Denoiser, noise: Tensor, process: Process, times: Tensor, randomness: Randomness
    ) -> Tensor:
        grid = Grid.of(process, times)
        log_ratio = [_log_ratio(a, s) for a, s in zip(grid.alpha, grid.sigma, strict=True)]
        steps = len(grid.steps)
        x = grid.start(noise)  # (B, T, C)
        before = x  # x at the time before the current one
        estimates: list[Tensor] = []  # x̂₀ at the times so far
        order = 0
        for i in grid.steps:
            x0 = denoise(x, at(grid.t[i], x))  # (B, T, C)
            if i > 0 and math.isfinite(log_ratio[i - 1]):
                x = _step(grid, log_ratio, before, estimates, i - 1, order, corrected_by=x0)
            estimates.append(x0)
            finite = sum(math.isfinite(value) for value in log_ratio[: i + 1])
            order = max(1, min(self.order, finite, steps - i))
            before, x = x, _step(grid, log_ratio, x, estimates, i, order)
        return x


def _log_ratio(alpha: float, sigma: float) -> float:
    """ln(α/σ), half the log-SNR."""
    if alpha == 0:
        return -math.inf
    return math.log(alpha / sigma) if sigma > 0 else math.inf


def _step(
    grid: Grid,
    log_ratio: list[float],
    x: Tensor,
    estimates: list[Tensor],
    i: int,
    order: int,
    corrected_by: Tensor | None = None,
) -> Tensor:
    """From x at t[i] to t[i + 1]: ibid., eq. 9 (predictor), eq. 8 (with the estimate at t[i + 1]: corrector)."""
    decay = (grid.alpha[i] * grid.sigma[i + 1]) / (grid.alpha[i + 1] * grid.sigma[i])  # e^-h
    linear = grid.sigma[i + 1] / grid.sigma[i] * x + grid.alpha[i + 1] * (1 - decay) * estimates[i]  # (B, T, C)
    if decay == 0 or (order == 1 and corrected_by is None):
        return linear
    h = log_ratio[i + 1] - log_ratio[i]
    nodes = [(log_ratio[i - back] - log_ratio[i]) / h for back in range(1, order)]
    slopes = [(estimates[i - back] - estimates[i]) / node for back, node in zip(range(1, order), nodes, strict=True)]
    if corrected_by is not None:
        nodes.append(1.0)
        slopes.append(corrected_by - estimates[i])
    weights = _weights(nodes, h)
    change = sum(weight * slope for weight, slope in zip(weights, slopes, strict=True))
    return linear + grid.alpha[i + 1] * (1 - decay) * change


def _weights(nodes: list[float], h: float) -> list[float]:
    """Solves ibid., eq. 12, for the weights of the divided differences at `nodes` (in units of h).

    With a single node the solution depends on h only beyond the order; the paper sets it to 1/2 (section 3.3).
    """
    if len(nodes) == 1:
        return [0.5]
    growth = math.expm1(-h)
    phi, moments = growth / -h - 1, []
    for n in range(1, len(nodes) + 1):
        moments.append(phi * math.factorial(n) / growth)
        phi = phi / -h - 1 / math.factorial(n + 1)
    matrix = torch.tensor(nodes, dtype=torch.float64) ** torch.arange(len(nodes), dtype=torch.float64)[:, None]
    return torch.linalg.solve(matrix, torch.tensor(moments, dtype=torch.float64)).tolist()
