"""Mistakes in a configuration are found before anything is built, and named by their key."""

import math

import pytest
import torch
from omegaconf import OmegaConf
from tests.runs.conftest import Place

from fieldforge.configuration.build import build, check
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.runs.train import run_training
from fieldforge.stages import denoiser_parts


class Part:
    def __init__(self, size: int, rate: float = 0.5, name: str | None = None, sides: tuple[int, ...] = (), inner=None):
        if size > 100:
            raise ValueError("size is at most 100")
        self.size, self.rate, self.name, self.sides, self.inner = size, rate, name, sides, inner


HERE = f"{__name__}.Part"


def config(**part):
    return OmegaConf.create({"part": {"_target_": HERE, **part}, "other": 7})


def test_a_sound_block_is_built_with_plain_values():
    part = build(config(size=3, rate=1, sides=[1, 2], inner={"_target_": HERE, "size": "${other}"}), "part")
    assert (part.size, part.rate, part.sides, part.inner.size) == (3, 1, [1, 2], 7)


def test_what_is_given_wins_and_is_handed_over_untouched():
    block = {"_target_": "os.system", "command": "false"}
    part = build(config(size="???"), "part", size=5, inner=block)
    assert part.size == 5
    assert part.inner is block


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"size": 3, "colour": 1}, r"unknown config key part\.colour: Part takes size, rate"),
        ({"size": "big"}, r"part\.size = 'big' is not a whole number"),
        ({"size": True}, r"part\.size = True is not a whole number"),
        ({"size": 3, "rate": "fast"}, r"part\.rate = 'fast' is not a number"),
        ({"size": 3, "name": 4}, r"part\.name = 4 is not a text or null"),
        ({"size": 3, "sides": 4}, r"part\.sides = 4 is not a list"),
        ({"rate": 1.0}, r"part\.size is missing"),
        ({"size": "???"}, r"part\.size has no value"),
        ({"size": 101}, r"config key part: size is at most 100"),
        ({"size": 3, "inner": {"_target_": HERE, "size": "x"}}, r"part\.inner\.size = 'x'"),
        ({"size": 3, "inner": {"_target_": HERE, "size": 101}}, r"config key part\.inner: size is at most 100"),
        ({"_target_": "no.such.thing"}, r"no\.such\.thing: there is no such class"),
    ],
)
def test_mistakes_name_their_key(part, sentence):
    with pytest.raises(UserError, match=sentence) as mistake:
        build(config(**part), "part")
    assert "\n" not in str(mistake.value)


def test_a_check_of_everything_leaves_missing_values_to_the_program():
    check(config(size="???"))
    check(config())
    with pytest.raises(UserError, match=r"part\.rate"):
        check(config(size="???", rate="fast"))


def test_untrusted_configurations_build_only_parts_of_this_project(tmp_path):
    hostile = OmegaConf.create({"part": {"_target_": "os.system", "command": f"touch {tmp_path}/harm"}})
    with pytest.raises(UserError, match="may not name it"):
        build(hostile, "part", trusted=False)
    nested = OmegaConf.create(
        {
            "part": {
                "_target_": "fieldforge.noise.processes.Exponential",
                "rate": {"_target_": "os.system", "command": f"touch {tmp_path}/harm"},
            }
        }
    )
    with pytest.raises(UserError, match="may not name it"):
        build(nested, "part", trusted=False)
    disguised = OmegaConf.create(
        {"part": {"_target_": "fieldforge.configuration.build.hydra.utils.get_object", "path": "os.system"}}
    )
    with pytest.raises(UserError):
        build(disguised, "part", trusted=False)
    assert not (tmp_path / "harm").exists()


def test_a_key_without_a_block_is_named():
    with pytest.raises(UserError, match="config key other must be a block"):
        build(config(size=1), "other")


FROM_THE_END = ["process=interpolation", "spacing@sampler.spacing=trailing"]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["sampler=ddpm_learned"], "needs the variance that loss=hybrid learns"),
        ([*FROM_THE_END, "sampler=heun", "parameterization=v"], "this sampler cannot start where no signal is left"),
        ([*FROM_THE_END, "sampler=ddim", "parameterization=noise"], "a prediction of ε says nothing"),
    ],
)
def test_what_could_never_be_sampled_is_refused_before_training(tmp_path, overrides, sentence):
    nowhere = Place(tmp_path / "no data", tmp_path / "outputs")  # data are not even looked for
    with pytest.raises(UserError, match=sentence) as mistake:
        run_training(nowhere.compose(*overrides))
    assert "\n" not in str(mistake.value)


@pytest.mark.parametrize("sampler", ["ddim", "flow_euler", "flow_heun"])
def test_what_can_be_sampled_is_not(tmp_path, sampler):
    check(Place(tmp_path, tmp_path).compose(*FROM_THE_END, f"sampler={sampler}", "parameterization=v"))
    check(Place(tmp_path, tmp_path).compose("loss=hybrid", "sampler=ddpm_learned"))


def test_times_are_shifted_by_the_tokens_of_the_latents(tmp_path):
    config = Place(tmp_path, tmp_path).compose("density=shifted", "conditioner=none")
    module = denoiser_parts.build_module(config, "diffusion", LatentShape(1024, 4), build(config, "conditioner"))
    u = torch.tensor([0.5], dtype=torch.float64)
    twice = module.density.times(u, module.model.process, 1024)  # √(1024 / 256)
    expected = module.model.process.time_of_log_snr(module.model.process.log_snr(u) - 2 * math.log(2))
    torch.testing.assert_close(twice, expected)


def test_stable_diffusion_3_is_composed(tmp_path):
    """Esser et al. 2024: logit-normal times (eq. 19) and even steps, both shifted (eq. 23) by α = √(1024 / 256)."""
    config = Place(tmp_path, tmp_path).compose(
        *("backbone=mmdit", "conditioner=none", "process=interpolation", "parameterization=velocity"),
        *("weighting=velocity", "density=shifted", "density@density.density=logit_normal"),
        *("sampler=flow_euler", "spacing@sampler.spacing=shifted", "sampler.spacing.shift=2"),
    )
    module = denoiser_parts.build_module(config, "diffusion", LatentShape(1024, 4), build(config, "conditioner"))
    assert type(module.model.backbone).__name__ == "MMDiT"
    u = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    logit_normal = torch.sigmoid(torch.special.ndtri(u))
    drawn = module.density.times(u, module.model.process, 1024)
    torch.testing.assert_close(drawn, 2 * logit_normal / (1 + logit_normal))
    even = torch.linspace(1, 0, 11, dtype=torch.float64)
    times = build(config, "sampler").spacing.times(10, module.model.process)
    torch.testing.assert_close(times, 2 * even / (1 + even))


@pytest.mark.parametrize(("key", "value"), [("cells", 129), ("sides", 17)])
def test_tables_of_cells_are_limited_before_they_are_made(key, value):
    """No checkpoint holds them, so that its size does not bound them."""
    for part in ("fields.cell_field.CellField", "autoencoder.sparse_encoder.SparseEncoder"):
        with pytest.raises(UserError, match=rf"part\.{key} = {value} is not a whole number from 1 to"):
            build(OmegaConf.create({"part": {"_target_": f"fieldforge.{part}", key: value}}), "part")
