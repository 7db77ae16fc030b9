"""The solver that docs/diffusion.md writes is one: its text runs, and has the order that it claims."""

import re
from pathlib import Path

import hydra.utils
import torch
from omegaconf import OmegaConf
from tests.diffusion.closed_form import GAUSSIAN

from fieldforge.diffusion.sampler import Sampler
from fieldforge.diffusion.spacing import Karras
from fieldforge.noise.processes import Cosine

TEXT = (Path(__file__).parents[2] / "docs/diffusion.md").read_text()
SECTION = TEXT[TEXT.index("## A new solver, in one file") :]


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", SECTION, re.S)
    assert match
    return match.group(1)


def midpoint():
    names: dict = {}
    exec(compile(block("python"), "midpoint.py", "exec"), names)
    return names["Midpoint"]()


def test_halving_the_steps_of_the_documents_solver_quarters_its_error():
    process, noise = Cosine(), torch.randn(64, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def walk(steps: int) -> torch.Tensor:
        sampler = Sampler(midpoint(), Karras(1e-2, 80.0, 7.0), steps)
        return sampler(GAUSSIAN.denoiser(process), noise, process, torch.Generator())

    exact = walk(1024)
    errors = [float((walk(steps) - exact).abs().max()) for steps in (16, 32, 64)]
    assert 3.2 < errors[0] / errors[1] < 4.8
    assert 3.2 < errors[1] / errors[2] < 4.8


def test_its_configuration_is_that_of_the_other_solvers():
    config = OmegaConf.create(block("yaml"))
    assert hydra.utils.get_class(config._target_) is Sampler
    other = OmegaConf.load(Path(__file__).parents[2] / "configs/sampler/heun.yaml")
    assert config.keys() == other.keys()
    assert config.defaults == other.defaults
