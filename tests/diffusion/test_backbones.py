import math
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.diffusion.backbones.in_context import InContext
from fieldforge.diffusion.backbones.local_readout import GridBlock, LocalReadout
from fieldforge.diffusion.backbones.mmdit import MMDiT
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import PredictData, PredictV
from fieldforge.diffusion.sampler import Sampler
from fieldforge.errors import UserError
from fieldforge.nn.grouping import Patches
from fieldforge.nn.places import grid_places
from fieldforge.noise.processes import Exponential

B, T, C, D = 2, 8, 3, 8
SIZES = dict(tokens=T, channels=C, width=16, layers=2, heads=2, condition_width=D)
CONFIGS = Path(__file__).parents[2] / "configs"


def shaken(backbone):
    torch.manual_seed(0)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return backbone.double().eval()


def arguments(tokens=4):
    generator = torch.Generator().manual_seed(1)
    x, vector, context = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((B, T, C), (B, D), (B, tokens, D))
    )
    return x, torch.tensor([-0.5, 1.0], dtype=torch.float64), vector, context


BACKBONES = {
    "DiT": lambda **more: DiT(**SIZES, cross_attention=True, **more),
    "DiT, placed": lambda **more: DiT(**SIZES, cross_attention=True, condition_rank=2, group=2, **more),
    "DiT, on a grid": lambda **more: DiT(**SIZES, cross_attention=True, group=2, grid=(4, 2), **more),
    "DiT, detail on a grid": lambda **more: DiT(**SIZES, cross_attention=True, group=2, grid=(4, 2), detail=6, **more),
    "InContext": lambda **more: InContext(**SIZES, **more),
    "InContext, on a grid": lambda **more: InContext(**SIZES, grid=(2, 2, 2), **more),
    "MMDiT": lambda **more: MMDiT(**SIZES, **more),
    "MMDiT, on a grid": lambda **more: MMDiT(**SIZES, group=2, grid=(4, 2), **more),
}


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_output_starts_at_zero(build):
    x, level, vector, context = (value.float() for value in arguments())
    out = build()(x, level, Condition(vector, context))
    assert torch.equal(out, torch.zeros(B, T, C))
    assert build(output_channels=2 * C)(x, level, Condition()).shape == (B, T, 2 * C)


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_everything_that_comes_in_counts(build):
    backbone = shaken(build())
    x, level, vector, context = arguments()
    out = backbone(x, level, Condition(vector, context))
    for other in (
        backbone(x + 0.1, level, Condition(vector, context)),
        backbone(x, level + 0.1, Condition(vector, context)),
        backbone(x, level, Condition(vector + 0.1, context)),
        backbone(x, level, Condition(vector, context.roll(1, dims=2))),
        backbone(x, level, Condition(vector)),
        backbone(x, level, Condition()),
    ):
        assert (out - other).abs().amax(dim=(1, 2)).min() > 1e-4
    moved = backbone(x.roll(1, dims=1), level, Condition(vector, context)).roll(-1, dims=1)
    assert (out - moved).abs().max() > 1e-4  # positions


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_padding_of_the_condition_changes_nothing(build):
    backbone = shaken(build())
    x, level, vector, context = arguments()
    mask = torch.ones(B, 7, dtype=torch.bool)
    mask[:, 4:] = False
    padded = torch.cat([context, torch.full((B, 3, D), 9.0, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(
        backbone(x, level, Condition(vector, padded, mask)), backbone(x, level, Condition(vector, context))
    )


@pytest.mark.parametrize("size", [1.0, 1e9])
@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_what_the_mask_hides_changes_no_bit(build, size):
    backbone = shaken(build())
    x, level, vector, context = arguments()
    other = size * context.roll(1, dims=2)
    mask = torch.tensor([[True, False, True, False], [True, True, True, False]])
    out = backbone(x, level, Condition(vector, context, mask))
    hidden = torch.where(mask[..., None], context, other)
    assert torch.equal(backbone(x, level, Condition(vector, hidden, mask)), out)
    for row, place in mask.nonzero().tolist():
        seen = context.clone()
        seen[row, place] = other[row, place]
        change = (backbone(x, level, Condition(vector, seen, mask)) - out).abs().amax(dim=(1, 2))
        assert change[row] > 1e-4


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_samples_of_a_batch_know_nothing_of_each_other(build):
    backbone = shaken(build())
    x, level, vector, context = arguments()
    together = backbone(x, level, Condition(vector, context))
    for row in range(B):
        one = slice(row, row + 1)
        torch.testing.assert_close(together[one], backbone(x[one], level[one], Condition(vector[one], context[one])))


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_recomputation_changes_no_number(build):
    x, level, vector, context = arguments()
    condition = Condition(vector, context)
    plain, recomputed = shaken(build()), shaken(build(checkpointing=True))
    gradients = []
    for backbone in (plain, recomputed):
        backbone(x, level, condition).square().sum().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_bfloat16_autocast_stays_close():
    backbone = shaken(BACKBONES["DiT"](qk_norm=True)).float()
    x, _, vector, context = (value.float() for value in arguments())
    model = DiffusionModel(backbone, Exponential(12.0), PredictData())
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    exact = model(x, t, Condition(vector, context))
    with torch.autocast("cpu", torch.bfloat16):
        close = model(x, t, Condition(vector, context))
    assert close.dtype == torch.float32
    assert (close - exact).norm() / exact.norm() < 0.05


GROUPS = [
    "process",
    "parameterization",
    "weighting",
    "density",
    "sampler",
    "spacing",
    "threshold",
    "guidance",
    "backbone",
]


@pytest.mark.parametrize("path", sorted(p for g in GROUPS for p in (CONFIGS / g).glob("*.yaml")), ids=lambda p: p.stem)
def test_every_choice_builds(path):
    group = path.parent.name
    with hydra.initialize_config_dir(str(CONFIGS.resolve()), version_base=None):
        config = hydra.compose(f"{group}/{path.stem}")[group]
    if group == "backbone":
        OmegaConf.set_struct(config, False)
        config.update(dict(tokens=T, channels=C, condition_width=D, width=16, heads=2, layers=1))
        if "group" in config:
            config.group = T
        if path.stem == "clip":
            config.grid = (2, 2, 2)
    extra = {"guidance": {"scale": 2.0}}  # whoever samples sets the scale
    built = hydra.utils.instantiate(config, **extra.get(group, {}))
    if group == "sampler" and path.stem != "ddpm_learned":
        noise, generator = torch.randn(B, T, C), torch.Generator().manual_seed(0)
        constant = Sampler(built.solver, built.spacing, 4)
        x0 = constant(lambda x, t: torch.full_like(x, 0.25), noise, Exponential(12.0), generator)
        torch.testing.assert_close(x0, torch.full((B, T, C), 0.25))
    elif group == "process":
        assert math.isinf(float(built.log_snr(torch.zeros(()))))
    else:
        assert built is not None


@pytest.mark.parametrize("kind", [DiT, InContext, MMDiT])
def test_positions_start_at_the_places_of_a_grid(kind) -> None:
    assert torch.equal(kind(**SIZES, grid=(2, 4)).positions, grid_places((2, 4), 16))
    if kind is not InContext:
        assert torch.equal(kind(**SIZES, grid=(2, 4), group=4).positions, grid_places((1, 2), 16))  # of patches
    assert kind(**SIZES).positions.abs().max() < 0.5


def test_grouped_tokens_come_back_in_their_places() -> None:
    torch.manual_seed(0)
    backbone = DiT(tokens=12, channels=3, width=16, layers=1, heads=2, condition_width=8, group=4)
    # The identity through an untouched transformer: what goes in at token i, channel c comes out there.
    with torch.no_grad():
        backbone.positions.zero_()
        backbone.embed.weight.copy_(torch.eye(16)[:, :12])
        backbone.embed.bias.zero_()
        backbone.readout.project.weight.copy_(torch.eye(16)[:12])
    backbone.readout.norm = torch.nn.Identity()
    x = torch.randn(2, 12, 3)
    torch.testing.assert_close(backbone(x, torch.rand(2), Condition()), x)


def test_places_read_the_condition_differently() -> None:
    torch.manual_seed(0)
    backbone = shaken(BACKBONES["DiT, placed"]())
    x, level, vector, _ = arguments()
    same = x[:, :1].expand_as(x)
    with torch.no_grad():
        backbone.positions.zero_()
    assert (
        backbone(same, level, Condition(vector))[:, 0] - backbone(same, level, Condition(vector))[:, 2]
    ).norm() > 1e-3


def test_noise_that_is_wider_than_the_blocks_goes_around_them() -> None:
    # 24 independent numbers in a token of width 4: the optimal v, linear in each number, is learned by the gain alone.
    torch.manual_seed(0)
    deviation = torch.linspace(0.2, 2.0, 24).view(1, 8, 3)
    backbone = DiT(tokens=8, channels=3, width=4, layers=1, heads=1, condition_width=1, group=8)
    model = DiffusionModel(backbone, Exponential(12.0), PredictV())
    t = torch.full((512,), 0.1, dtype=torch.float64)
    alpha, sigma = float(model.process.alpha(t[0])), float(model.process.sigma(t[0]))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(300):
        x0, noise = deviation * torch.randn(512, 8, 3), torch.randn(512, 8, 3)
        estimate = model(model.process.add_noise(x0, noise, t), t, Condition())
        loss = (estimate - x0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = (
        deviation**2 * sigma**2 / (alpha**2 * deviation**2 + sigma**2)
    ).mean()  # of a Gaussian: the posterior variance
    assert float(loss.detach()) == pytest.approx(float(best), rel=0.05)


@pytest.mark.parametrize(("group", "inside"), [(1, 12), (8, 3), (128, 3)])
def test_as_many_tokens_make_one_as_both_numbers_can_be_divided_by(group, inside) -> None:
    backbone = DiT(tokens=12, channels=3, width=16, layers=1, heads=2, condition_width=8, group=group)
    assert backbone.positions.shape == (inside, 16)
    assert backbone(torch.randn(2, 12, 3), torch.rand(2), Condition()).shape == (2, 12, 3)


@pytest.mark.parametrize(("group", "sentence"), [(0, "whole number of at least 1"), (5, "12 tokens have no divisor")])
def test_a_group_that_cannot_be_is_refused(group, sentence) -> None:
    with pytest.raises(ValueError, match=f"backbone.group={group}.*{sentence}"):
        DiT(tokens=12, channels=3, width=16, layers=1, heads=2, condition_width=8, group=group)


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_every_weight_takes_part_without_a_condition(build) -> None:
    """Processes that train together stop at a weight that has no gradient."""
    backbone = shaken(build())
    x, level, _, _ = arguments()
    backbone(x, level, Condition()).square().sum().backward()
    lacking = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert lacking == []


@pytest.mark.parametrize("grid", [(8,), (4, 2), (2, 2, 2)])
def test_blocks_of_detail_look_at_the_places_around_in_row_major_order(grid):
    block = shaken(GridBlock(grid, width=3, vector_width=4))
    x, vector = torch.randn(1, 8, 3, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    places = list(np.ndindex(*grid))
    around = torch.zeros(8, 3, dtype=torch.float64)
    for row, here in enumerate(places):  # the convolution, written out
        for column, there in enumerate(places):
            step = np.subtract(there, here)
            if (abs(step) <= 1).all():
                around[row] += block.around.weight[(slice(None), slice(None), *(step + 1))] @ x[0, column]
    around += block.around.bias
    shift, scale = block.modulation(vector)
    expected = x + block.feed(torch.nn.functional.layer_norm(around, (3,)) * (1 + scale) + shift)
    torch.testing.assert_close(block(x, vector), expected)


def test_detail_reaches_as_far_as_its_blocks_and_its_patch():
    readout = shaken(LocalReadout(Patches(16, 2, "group", (16,)), C, C, width=4, detail=5, layers=2))
    tokens, x = torch.randn(1, 8, 4, dtype=torch.float64), torch.randn(1, 16, C, dtype=torch.float64)
    vector = torch.randn(1, 4, dtype=torch.float64)
    there, other = x.clone(), tokens.clone()
    there[0, 7] += 1
    other[0, 3] += torch.randn(4, dtype=torch.float64)  # of the latent tokens 6 and 7

    def moved(out):
        return (out - readout(tokens, x, vector)).abs().amax(dim=(0, 2)).gt(1e-9).nonzero()[:, 0].tolist()

    assert moved(readout(tokens, there, vector)) == [5, 6, 7, 8, 9]
    assert moved(readout(other, x, vector)) == [4, 5, 6, 7, 8, 9]


def test_detail_needs_a_grid():
    with pytest.raises(UserError, match=r"backbone\.detail=6: these latents have no grid"):
        DiT(**SIZES, detail=6)
