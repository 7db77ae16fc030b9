"""What is compared: the whole grid, and the recipes that papers are known for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fieldforge.diffusion.parameterization import (
    Parameterization,
    PredictData,
    PredictNoise,
    PredictV,
    PredictVelocity,
)
from fieldforge.diffusion.weighting import (
    MinSNR,
    Sigmoid,
    UniformData,
    UniformNoise,
    UniformV,
    UniformVelocity,
    Weighting,
)
from fieldforge.noise.densities import Density, LogitNormal, LogNormalSigma, Shifted, UniformTime
from fieldforge.noise.process import Process
from fieldforge.noise.processes import Cosine, Exponential, Linear, LinearInterpolation, VarianceExploding

# Named as the configs do; `shifted(8)` is logit_normal with σ/α raised 8 times.
PREDICTIONS: dict[str, Parameterization] = {
    "v": PredictV(),
    "velocity": PredictVelocity(),
    "data": PredictData(),
    "noise": PredictNoise(),
}
WEIGHTINGS: dict[str, Weighting] = {
    "v": UniformV(),
    "velocity": UniformVelocity(),
    "noise": UniformNoise(),
    "sigmoid": Sigmoid(),
    "min_snr": MinSNR(),
    "data": UniformData(),
}
PROCESSES: dict[str, Process] = {
    "linear": Linear(),
    "cosine": Cosine(),
    "exponential": Exponential(),
    "exploding": VarianceExploding(160.0),
    "interpolation": LinearInterpolation(),
}
SHIFTED_TOKENS = 4096
"""Whatever the latents have, so that `shifted(8)` is 8 times the noise: √(4096 / 64)."""
DENSITIES: dict[str, Density] = {
    "uniform": UniformTime(),
    "shapes": LogNormalSigma(1.6, 1.4),
    "log_normal": LogNormalSigma(-0.5, 1.2),
    "logit_normal": LogitNormal(),
    "shifted(8)": Shifted(LogitNormal(), base_tokens=64),
}


@dataclass(frozen=True)
class Objective:
    """One way to train, by the names of its parts; `known` for whom. `seed`: of first weights, batches and noises."""

    prediction: str
    process: str
    weighting: str
    density: str
    known: str = ""
    seed: int = 0

    @property
    def choices(self) -> str:
        return f"{self.prediction} {self.process} {self.weighting} {self.density}"

    @property
    def key(self) -> str:
        return f"{self.choices} {self.seed}"


# Times even in t: each process then looks elsewhere. The last column asks for noise levels, the same for all processes.
COLUMNS = [*((process, "uniform") for process in PROCESSES), ("exponential", "shapes")]
GRID = [
    Objective(prediction, process, weighting, density)
    for process, density in reversed(COLUMNS)
    for prediction in PREDICTIONS
    for weighting in WEIGHTINGS
]
RECIPES = [
    Objective("v", "exponential", "v", "shapes", "the default"),
    Objective("v", "exponential", "velocity", "shapes"),
    Objective("v", "exponential", "data", "shapes"),
    Objective("data", "exponential", "data", "uniform", "Shap-E"),
    Objective("noise", "linear", "noise", "uniform", "DDPM"),
    Objective("noise", "cosine", "noise", "uniform", "Improved DDPM"),
    Objective("v", "cosine", "v", "uniform", "Salimans & Ho"),
    Objective("v", "cosine", "min_snr", "uniform", "min-SNR"),
    Objective("v", "cosine", "sigmoid", "uniform", "VDM++"),
    Objective("v", "exploding", "v", "log_normal", "EDM"),
    Objective("velocity", "interpolation", "velocity", "uniform", "rectified flow"),
    Objective("velocity", "interpolation", "velocity", "logit_normal", "SD3"),
    Objective("velocity", "interpolation", "velocity", "shifted(8)", "SD3, shifted"),
]
SEEDS = (0, 1, 2)
REPEATED = [replace(recipe, seed=seed) for recipe in RECIPES for seed in SEEDS]
