"""Which samplers are compared, and what each is at a number of network evaluations."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from fieldforge.configuration.build import build
from fieldforge.diffusion.sampler import Sampler
from fieldforge.runs.entry import CONFIGS

# flow_euler is left out: at the times of its file it takes the steps of ddim.
SAMPLERS = (
    "ddpm",
    "ddpm_learned",
    "ddim",
    "euler",
    "heun",
    "heun_churn",
    "flow_heun",
    "dpm_solver",
    "dpm_solver_sde",
    "unipc",
)
TWO_EVALUATIONS = ("heun", "heun_churn", "flow_heun")
BUDGETS = (1, 2, 4, 8, 16, 32, 64, 128)


def sampling_of(name: str, budget: int) -> Sampler | None:
    """The sampler of configs/sampler with at most `budget` evaluations; None where fewer come to the same."""
    if name in TWO_EVALUATIONS and budget == 2:
        return None
    steps = (budget + 1) // 2 if name in TWO_EVALUATIONS else budget
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return build(compose(f"sampler/{name}", [f"sampler.steps={steps}"]), "sampler")
