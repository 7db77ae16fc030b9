"""Every design of the autoencoder: shapes, statistics, noise, gradients, and that its loss falls on one shape."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import KLBottleneck, NoisyBottleneck, VQBottleneck
from fieldforge.autoencoder.encoders import Encoder
from fieldforge.autoencoder.losses import AutoencoderLoss
from fieldforge.autoencoder.planes import PATCH, in_planes, to_images, to_tokens
from fieldforge.autoencoder.pooling import scatter_mean
from fieldforge.errors import UserError
from fieldforge.fields.picture import PictureGrid
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.processes import PowerLaw
from fieldforge.runs.entry import CONFIGS

CELLS = [
    *("encoder.cells=8", "encoder.width=32", "encoder.layers=1", "encoder.narrow=8"),
    *("decoder.width=32", "decoder.layers=1", "decoder.narrow=8"),
]
SMALL = {
    "planes": [
        *("encoder.cells=4", "encoder.levels=1", "encoder.convolution_width=8", "encoder.width=32", "encoder.layers=1"),
        *("field.resolution=8", "field.features=8", "decoder.width=32", "decoder.layers=1"),
        "decoder.convolution_width=8",
    ],
    "lattice": [
        *("encoder.cells=2", "encoder.patch=4", "encoder.width=32", "encoder.layers=1"),
        *("field.resolution=8", "field.features=8", "decoder.width=32", "decoder.layers=1"),
    ],
    "sparse": CELLS,
    "quadrics": CELLS,
    "shap_e_small": [
        *("encoder.tokens=24", "encoder.width=32", "encoder.layers=1", "encoder.channels=8"),
        *("encoder.data_tokens=16", "encoder.neighbours=8"),
        *("field.hidden=8", "field.layers=3"),
    ],
    "vector_set": [
        *("encoder.tokens=16", "encoder.training_tokens=[12,16]", "encoder.width=32", "encoder.layers=1"),
        *("field.width=16", "decoder.width=32", "decoder.layers=1"),
    ],
}


def composed(name: str) -> DictConfig:
    """A small model of the design, and the loss that it takes."""
    small = [f"autoencoder.{setting}" for setting in SMALL[name]]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", ["experiment=shape_autoencoder", f"autoencoder={name}", *small])


def build(name: str) -> Autoencoder:
    torch.manual_seed(0)
    return instantiate(composed(name).autoencoder, _convert_="all")


def sphere_batch(radius: float = 0.6, count: int = 512) -> dict[str, torch.Tensor]:
    """Two red spheres as the autoencoder's batch, seen along rays towards their middle and past them."""
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(2, count, 3, generator=generator), dim=-1)
    red = torch.tensor([0.9, 0.1, 0.1]).expand(2, count, 3)
    points = torch.rand(2, count, 3, generator=generator) * 2 - 1
    near = normals * radius + torch.randn(2, count, 3, generator=generator) * 0.03
    origins = torch.tensor([0.0, 0.0, 3.0]).expand(2, 32, 3)
    aims = torch.rand(2, 32, 3, generator=generator) * torch.tensor([1.6, 1.6, 0.0]) - torch.tensor([0.8, 0.8, 0.0])
    hits = (torch.linalg.cross(aims - origins, origins).norm(dim=-1) / (aims - origins).norm(dim=-1) < radius).float()
    return {
        "input": torch.cat([normals * radius, normals, red], -1),
        "near_points": near,
        "near_sdf": near.norm(dim=-1) - radius,
        "volume_points": points,
        "volume_sdf": points.norm(dim=-1) - radius,
        "ray_origins": origins,
        "ray_directions": torch.nn.functional.normalize(aims - origins, dim=-1),
        "ray_rgba": hits[..., None] * torch.tensor([0.9, 0.1, 0.1, 1.0]),
    }


@pytest.mark.parametrize("name", sorted(SMALL))
def test_latents_have_the_announced_shape_and_decode_to_the_announced_parameters(name):
    autoencoder = build(name).eval()
    surface = sphere_batch()["input"]
    latents = autoencoder.encode({"input": surface})
    assert latents.shape == (2, *autoencoder.latent_shape[:2])
    params = autoencoder.decode(latents)
    shapes = {key: tuple(value.shape[1:]) for key, value in params.items()}
    announced = dict(autoencoder.field.param_shapes)
    active = {"sparse": {"cells"}, "quadrics": {"cells", "quadrics"}}.get(name, set())
    assert active <= autoencoder.field.ragged
    for ragged in active:  # as many rows as cells are active
        assert shapes[ragged][0] < announced[ragged][0]
        announced[ragged] = (shapes[ragged][0], announced[ragged][1])
    assert shapes == announced
    for key, value in autoencoder({"input": surface})[0].items():
        torch.testing.assert_close(params[key], value, msg=f"{key}: encode and decode must be what forward does")


@pytest.mark.parametrize("name", sorted(SMALL))
def test_training_teaches_a_sphere_and_every_weight_takes_part(name):
    autoencoder, batch = build(name), sphere_batch()
    loss_of = instantiate(composed(name).autoencoder_loss, colored=128, coarse_samples=8, fine_samples=8)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    first: dict[str, torch.Tensor] = {}
    for step in range(60):
        optimizer.zero_grad()
        loss, terms = loss_of(autoencoder, batch, generator)
        loss.backward()
        if step == 3:
            idle = [n for n, p in autoencoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
            assert not idle, f"no gradient reaches {idle}"
        optimizer.step()
        first = first or terms
    for term in ("distance", "occupancy", "color", "view", "opacity"):
        share = {"sparse": 0.8, "quadrics": 0.9}.get(name, 0.6)  # these hold a sphere from the first, but for the noise
        if name == "shap_e_small" and term in ("view", "opacity"):
            share = 0.9  # its densities do not follow from distances
        assert terms[term] < share * first[term], f"{term} went from {first[term]:.3f} only to {terms[term]:.3f}"


class LengthEncoder(Encoder):
    """Latents are sums of two fields of a batch: makes it visible which ones it got."""

    reads = ("input", "length")

    def __init__(self):
        super().__init__()
        self.latent_shape = LatentShape(4, 2)

    def forward(self, surface, length):
        return surface[:, :4, :2] / 100 + length[:, None, None]


def test_an_encoder_gets_the_fields_that_it_names_and_a_sample_without_them_is_refused():
    model = Autoencoder(
        LengthEncoder(), NoisyBottleneck(PowerLaw(5.0)), PictureGrid(2), lambda **sizes: torch.nn.Identity()
    )
    batch = {"length": torch.tensor([0.1, 0.2]), "other": torch.zeros(2), "input": torch.zeros(2, 8, 9)}
    torch.testing.assert_close(model.encode(batch)[:, 0, 0], batch["length"].tanh())
    with pytest.raises(UserError, match="length of a sample"):
        model.encode({"input": batch["input"]})


def test_statistics_make_latents_zero_mean_unit_variance_and_leave_the_reconstruction():
    autoencoder = build("planes").eval()
    surface = torch.rand(8, 256, 9, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    before = autoencoder.decode(autoencoder.encode({"input": surface}))
    raw = autoencoder.encode({"input": surface}).flatten(0, 1)
    autoencoder.set_statistics(raw.mean(0), raw.std(0))
    latents = autoencoder.encode({"input": surface}).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(latents.shape[1]), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(0), torch.ones(latents.shape[1]), rtol=1e-4, atol=0)
    after = autoencoder.decode(autoencoder.encode({"input": surface}))
    torch.testing.assert_close(before["planes"], after["planes"], rtol=1e-3, atol=1e-4)
    assert {"latent_mean", "latent_std"} <= set(autoencoder.state_dict())


def test_the_bottleneck_noises_one_sample_in_ten_by_its_process():
    process = PowerLaw(5.0)
    bottleneck = NoisyBottleneck(process, noised=0.1).train()
    h = torch.full((20000, 1, 4), 0.5)
    z, _ = bottleneck(h, torch.Generator().manual_seed(0))
    noised = (z - h.tanh()).abs().amax(dim=(1, 2)) > 0
    # 3 σ of a binomial with p = 0.1 and 20,000 draws.
    assert abs(noised.float().mean().item() - 0.1) < 3 * (0.1 * 0.9 / 20000) ** 0.5
    # E[σ²(t)] for t uniform on [0, 1] is 1/6 and E[(1 - α)²] the integral below; their sum is the mean square change.
    t = torch.linspace(0, 1, 100001, dtype=torch.float64)
    expected = (t**5 + (1 - process.alpha(t)) ** 2 * 0.5**0 * torch.tensor(0.5).tanh() ** 2).mean()
    measured = (z - h.tanh())[noised].square().mean()
    torch.testing.assert_close(measured.double(), expected, rtol=0.1, atol=0)
    torch.testing.assert_close(bottleneck.eval()(h)[0], h.tanh())


def test_the_bottleneck_asks_for_its_generator():
    with pytest.raises(ValueError, match="generator"):
        NoisyBottleneck(PowerLaw(5.0)).train()(torch.zeros(1, 1, 1))


def test_scatter_mean_is_the_mean_of_each_bin():
    values = torch.tensor([[[1.0], [3.0], [10.0]], [[2.0], [4.0], [6.0]]])
    index = torch.tensor([[0, 0, 2], [1, 1, 1]])
    expected = torch.tensor([[[2.0], [0.0], [10.0]], [[0.0], [4.0], [0.0]]])
    torch.testing.assert_close(scatter_mean(values, index, 3), expected)


def test_tokens_of_planes_follow_each_other_patch_by_patch():
    u, v = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    images = torch.stack([u, v]).float().repeat(6, 1, 1, 1)  # (2 · 3, 2, 8, 8): each cell knows where it is
    images = torch.cat([images, torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 8)], 1)
    tokens = to_tokens(images)  # (2, 3 · 64, 3)
    patches = tokens.view(2, 3, 4, PATCH**2, 3)
    assert patches[0, 0, 1].tolist() == [[row, column, 0] for row in range(4) for column in range(4, 8)]
    assert patches[1, 2, 2, :, 2].unique().tolist() == [5]
    torch.testing.assert_close(to_images(tokens), images)


def test_points_land_in_the_pixels_of_their_planes():
    place = torch.tensor([[[0, 1, 2], [0, 1, 2], [3, 0, 1]]])  # (1, 3, 3)
    images = in_planes(torch.tensor([[[2.0], [4.0], [7.0]]]), place, 4)  # (3, 1, 4, 4): planes xy, xz, yz
    assert [image.nonzero().tolist() for image in images[:, 0]] == [
        [[0, 1], [3, 0]],
        [[0, 2], [3, 1]],
        [[0, 1], [1, 2]],
    ]
    assert [images[0, 0, 0, 1], images[1, 0, 3, 1], images[2, 0, 1, 2]] == [3.0, 7.0, 3.0]


@pytest.mark.parametrize(
    ("bottleneck", "weight", "sentence"),
    [
        (KLBottleneck(16, 16), 0.0, "no weight for kl of the bottleneck: take a loss that has"),
        (VQBottleneck(16, 16, 4), 0.0, "no weight for codebook and commitment"),
        (NoisyBottleneck(PowerLaw(5.0)), 1e-3, "autoencoder_loss.kl = 0.001 weighs a term that .* does not have"),
    ],
)
def test_terms_of_the_bottleneck_and_their_weights_belong_together(bottleneck, weight, sentence):
    autoencoder = build("lattice").train()
    autoencoder.bottleneck = bottleneck
    with pytest.raises(UserError, match=sentence):
        AutoencoderLoss(kl=weight)(autoencoder, sphere_batch(), torch.Generator().manual_seed(0))


def test_a_weight_of_the_bottlenecks_term_adds_that_much_of_it():
    autoencoder, batch = build("vector_set").eval(), sphere_batch()
    light, heavy = (
        AutoencoderLoss(kl=weight, coarse_samples=4, fine_samples=4)(
            autoencoder, batch, torch.Generator().manual_seed(0)
        )
        for weight in (1.0, 3.0)
    )
    assert heavy[1]["kl"] == autoencoder(batch)[1]["kl"] > 0
    torch.testing.assert_close(heavy[0] - light[0], 2 * heavy[1]["kl"], rtol=1e-4, atol=1e-5)
