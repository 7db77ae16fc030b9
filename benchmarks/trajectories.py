"""Draws docs/images/diffusion_trajectories.png: how each process carries noise to data, on a mixture in the plane.

    python benchmarks/trajectories.py     # seconds; needs matplotlib

The optimal denoiser of the mixture is known, so that nothing is trained. Dots are even steps of t.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from fieldforge.diffusion.solvers.coordinates import Straight
from fieldforge.diffusion.solvers.heun import Heun
from fieldforge.diffusion.spacing import Uniform
from fieldforge.noise.process import Process
from fieldforge.noise.processes import Cosine, Exponential, Linear, LinearInterpolation, VarianceExploding

MEANS = 1.35 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)  # (K, 2)
VARIANCE = 0.02
STEPS, SHOWN = 400, 20
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "diffusion_trajectories.png"


def denoised(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """E[x₀ | x_t] of the mixture: x (B, 1, 2) → (B, 1, 2)."""
    spread = alpha**2 * VARIANCE + sigma**2
    offset = x - alpha * MEANS  # (B, K, 2)
    responsibility = torch.softmax(-offset.square().sum(-1) / (2 * spread), dim=1)  # (B, K)
    estimates = MEANS + alpha * VARIANCE / spread * offset  # (B, K, 2)
    return torch.einsum("bk,bki->bi", responsibility, estimates)[:, None]


def trajectories(process: Process, noise: Tensor) -> Tensor:
    """The probability-flow paths at even times: noise (B, 1, 2) → (STEPS + 1, B, 2)."""
    states: dict[float, Tensor] = {}

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        states.setdefault(float(t[0]), x[:, 0])
        return denoised(x, float(process.alpha(t[0])), float(process.sigma(t[0])))

    times = Uniform().times(STEPS, process)
    end = Heun(Straight()).sample(denoise, noise, process, times, torch.Generator())
    return torch.stack([states[float(t)] for t in times[:-1]] + [end[:, 0]])


def main() -> None:
    panels = {
        "linear (DDPM)": (Linear(), 2.6),
        "cosine (Improved DDPM)": (Cosine(), 2.6),
        "exponential (Shap-E)": (Exponential(12.0), 2.6),
        "linear interpolation (flow)": (LinearInterpolation(), 2.6),
        "exploding (EDM), zoomed": (VarianceExploding(80.0, 7.0), 6.0),
    }
    noise = torch.randn(40, 1, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 4.3))
    for axis, (title, (process, reach)) in zip(axes, panels.items(), strict=True):
        path = trajectories(process, noise)  # (STEPS + 1, B, 2)
        for walk in path.unbind(1):
            axis.plot(walk[:, 0], walk[:, 1], color="0.55", linewidth=0.7)
        even = path[:: STEPS // SHOWN].flip(0)  # the noisy end on top, where dots cover each other
        colors = torch.linspace(0, 1, len(even))[:, None].expand(-1, path.shape[1])
        dots = axis.scatter(even[..., 0], even[..., 1], c=colors, s=7, cmap="viridis", zorder=2)
        axis.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    figure.colorbar(dots, ax=axes, label="t (1 = noise)", fraction=0.01, pad=0.01)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=80, bbox_inches="tight")
    print(PICTURE)


if __name__ == "__main__":
    main()
