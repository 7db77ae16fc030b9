"""A sampler under guidance copies nothing to a GPU between its evaluations, and waits for nothing."""

import copy
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tests.device.stand_in import META, HostTraffic, traffic  # noqa: F401 (a fixture)

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.generation import Generator
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.randomness import RowRandomness
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.denoiser_parts import build_generator, build_model
from fieldforge.stages.training_run import seeded

SHAPE = LatentShape(16, 4)
SAMPLERS, GUIDANCES = (
    sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml")) for kind in ("sampler", "guidance")
)
SMALL = [
    "conditioner=class",
    "conditioner.classes=[a,b]",
    "backbone=in_context",
    "backbone.layers=1",
    "sampler.steps=3",
]
LEARNED = ["loss=hybrid", "parameterization=noise", "weighting=noise"]


@cache
def denoiser(learned: bool) -> tuple[DictConfig, DiffusionModel, Conditioner]:
    """A small model on the CPU, with its configuration."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=shape_latent", *SMALL, *(LEARNED if learned else [])])
    conditioner = seeded(config, "conditioner")
    return config, build_model(config, SHAPE, conditioner), conditioner


@cache
def sampler_block(sampler: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(overrides=[f"+sampler={sampler}", "sampler.steps=3"]).sampler


def generator(sampler: str, guidance: str, device: torch.device) -> Generator:
    config, model, conditioner = denoiser(sampler == "ddpm_learned")
    config = config.copy()
    config.sampler = sampler_block(sampler)
    config.guidance = OmegaConf.load(CONFIGS / "guidance" / f"{guidance}.yaml")
    if "frames" in config.guidance:
        config.guidance.frames = 4  # of clips; 16 tokens are four frames
    parts = [copy.deepcopy(part).to(device).eval() for part in (model, conditioner)]
    return build_generator(config, *parts, SHAPE)


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_evaluation_copies_nothing_and_reads_nothing_back(sampler, guidance, traffic):  # noqa: F811
    own = generator(sampler, guidance, META)
    steering = own.steering({"class": ["a", "b"]}, 2, 3.0)
    denoise = own.model.guided(steering.guidance, steering.condition, steering.null)
    noise, randomness = torch.empty(2, *SHAPE[:2], device=META), RowRandomness("sampling", [0, 1], META)
    with traffic, torch.no_grad():
        latents = own.sampler(denoise, noise, own.model.process, randomness)
    assert latents.shape == noise.shape
    assert traffic.copies == []


@pytest.mark.parametrize(
    "mistake",
    [
        lambda there, here: there + here.to(META),
        lambda there, here: there.copy_(here),
        lambda there, here: there[here.long()],
        lambda there, here: torch.tensor([1.0, 2.0], device=META),
    ],
)
def test_a_copy_is_found(mistake, traffic):  # noqa: F811
    with traffic:
        mistake(torch.empty(2, device=META), torch.ones(2))
    assert len(traffic.copies) == 1


@pytest.mark.parametrize("question", [torch.Tensor.item, torch.Tensor.nonzero, bool, torch.Tensor.cpu])
def test_a_read_back_raises(question):
    with pytest.raises((RuntimeError, NotImplementedError)):
        question(torch.empty(1, device=META))


def test_numbers_of_the_host_are_no_copies(traffic):  # noqa: F811
    with traffic:
        torch.empty(2, device=META) * torch.tensor(2.0) + 1
    assert isinstance(traffic, HostTraffic)
    assert traffic.copies == []
