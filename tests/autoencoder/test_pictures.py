"""Parts of picture autoencoders against closed forms and independent implementations."""

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import KLBottleneck, VQBottleneck
from fieldforge.autoencoder.picture_loss import PictureLoss, edge_distance
from fieldforge.autoencoder.pictures import PictureDecoder, PictureEncoder
from fieldforge.fields.local_picture import LocalPictureField
from fieldforge.fields.picture import PictureGrid, pixel_centres

SIZE = 16


def small() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        PictureEncoder(SIZE, levels=2, width=8, channels=16, heads=2),
        KLBottleneck(16, 4),
        PictureGrid(SIZE),
        lambda **sizes: PictureDecoder(**sizes, width=8, heads=2),
    )


def test_the_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    bottleneck, h = KLBottleneck(8, 3).eval(), torch.randn(2, 5, 8)
    mean, log_variance = bottleneck.moments(h).chunk(2, -1)
    truth = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).mean()
    latents, terms = bottleneck(h)
    torch.testing.assert_close(terms["kl"], truth)
    torch.testing.assert_close(latents, mean)
    torch.testing.assert_close(bottleneck.latents(h), mean)


def test_training_draws_from_the_distribution() -> None:
    torch.manual_seed(0)
    bottleneck, h = KLBottleneck(4, 2).train(), torch.randn(1, 1, 4)
    mean, log_variance = bottleneck.moments(h).chunk(2, -1)
    drawn, _ = bottleneck(h.expand(20_000, 1, 4), torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), (0.5 * log_variance).exp()[0], atol=0.05, rtol=0)
    with pytest.raises(ValueError, match="pass it randomness"):
        bottleneck(h)


def test_a_picture_read_at_its_pixels_is_the_picture() -> None:
    field, pixels = PictureGrid(5), torch.rand(2, 25, 3) * 2 - 1
    values = field.query(pixel_centres(5).expand(2, -1, -1), {"pixels": pixels})
    torch.testing.assert_close(values["rgb"], (pixels + 1) / 2)


def test_between_pixels_a_picture_is_read_linearly() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    ramp = (0.1 * columns - 0.2 * rows).reshape(1, 16, 1).expand(1, 16, 3)
    points = torch.rand(1, 50, 2) * 1.5 - 0.75  # within the centres of the outermost pixels
    x, y = ((points + 1) * 2 - 0.5).unbind(-1)  # in pixels
    values = PictureGrid(4).query(points, {"pixels": ramp})
    torch.testing.assert_close(values["rgb"][..., 0], (0.1 * x - 0.2 * y + 1) / 2, atol=1e-5, rtol=0)


def test_shapes_and_grid_of_the_latents() -> None:
    autoencoder = small()
    assert autoencoder.latent_shape == (16, 4, (4, 4))
    latents = autoencoder.encode({"input": torch.rand(2, 3, SIZE, SIZE)})
    assert latents.shape == (2, 16, 4)
    assert autoencoder.decode(latents)["pixels"].shape == (2, SIZE**2, 3)


def test_latents_lie_where_their_part_of_the_picture_does() -> None:
    """Without the middle, which mixes all cells, a token knows its own surroundings alone."""
    encoder = small().encoder
    encoder.middle = torch.nn.Identity()
    picture = torch.zeros(1, 3, SIZE, SIZE)
    changed = picture.clone()
    changed[..., :4, 12:] = 1  # the top right cell
    difference = (encoder(changed) - encoder(picture)).abs().sum(-1)[0].reshape(4, 4)
    assert difference.argmax() == 3
    assert difference[3].max() == 0


def test_edges_do_not_see_a_shift_of_brightness() -> None:
    picture = torch.rand(2, 3, 8, 8)
    assert edge_distance(picture + 0.3, picture) < 1e-6
    assert edge_distance(picture.flip(-1), picture) > 0.1


def test_training_teaches_a_picture_and_every_weight_takes_part() -> None:
    autoencoder, loss = small().train(), PictureLoss()
    ramp = torch.linspace(-1, 1, SIZE)
    batch = {"input": torch.stack([ramp.expand(3, SIZE, SIZE), ramp[:, None].expand(3, SIZE, SIZE)])}
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        value, terms = loss(autoencoder, batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        value.backward()
        if step == 0:
            assert [name for name, p in autoencoder.named_parameters() if p.grad is None] == []
        optimizer.step()
        losses.append(value.item())
    assert terms.keys() == {"pixels", "edges", "kl"}
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match="size=18 must be a multiple of 4"):
        PictureEncoder(18, levels=2)


@pytest.mark.parametrize("cells", [4, 8, 32])
def test_a_field_may_have_the_cells_of_the_latents_times_a_power_of_two(cells: int) -> None:
    field = LocalPictureField(cells, features=6, hidden=8)
    params = PictureDecoder(16, 3, field.param_shapes, width=8, heads=2)(torch.randn(2, 16, 3))
    assert params["features"].shape == (2, cells**2, 6)
    assert field.query(pixel_centres(20).expand(2, -1, -1), params)["rgb"].shape == (2, 400, 3)


@pytest.mark.parametrize("cells", [2, 6, 12])
def test_other_numbers_of_cells_are_refused(cells: int) -> None:
    with pytest.raises(
        ValueError, match=f"{cells} cells along a side, give it the 4 of the latents times a power of 2"
    ):
        PictureDecoder(16, 3, LocalPictureField(cells).param_shapes)


def test_a_token_is_replaced_by_the_code_of_the_smallest_angle() -> None:
    torch.manual_seed(0)
    bottleneck, h = VQBottleneck(8, 3, codes=20), torch.randn(2, 5, 8)
    latents = bottleneck.latents(h)
    seen, terms = bottleneck(h)
    codes = F.normalize(bottleneck.codebook, dim=-1)
    truth = codes[torch.cdist(latents, codes.expand(2, -1, -1)).argmin(-1)]
    torch.testing.assert_close(seen, truth)
    torch.testing.assert_close(bottleneck.restore(3 * latents), truth)
    torch.testing.assert_close(terms["codebook"], (truth - latents).square().mean())


def test_the_decoders_gradient_reaches_tokens_and_each_term_its_side() -> None:
    torch.manual_seed(0)
    bottleneck, h = VQBottleneck(8, 3, codes=20), torch.randn(2, 5, 8)
    weights, codebook = bottleneck.project.weight, bottleneck.codebook
    seen, terms = bottleneck(h)
    direction = torch.randn_like(seen)
    through = torch.autograd.grad((seen * direction).sum(), (weights, codebook), retain_graph=True, allow_unused=True)
    straight = torch.autograd.grad((bottleneck.latents(h) * direction).sum(), weights)
    torch.testing.assert_close(through[0], straight[0])
    assert through[1] is None
    for name, (of_tokens, of_codes) in {"codebook": (False, True), "commitment": (True, False)}.items():
        grads = torch.autograd.grad(terms[name], (weights, codebook), retain_graph=True, allow_unused=True)
        assert [grad is not None for grad in grads] == [of_tokens, of_codes], name


def test_a_local_field_is_continuous_and_reads_the_cell_at_its_centre() -> None:
    torch.manual_seed(0)
    field, features = LocalPictureField(cells=4, features=6, hidden=16), torch.randn(2, 16, 6)
    at_centres = field.query(pixel_centres(4).expand(2, -1, -1), {"features": features})["rgb"]
    truth = field.read(torch.cat([features, torch.zeros(2, 16, 2)], -1))
    torch.testing.assert_close(at_centres, (truth + 1) / 2, atol=1e-5, rtol=1e-5)
    line = torch.stack([torch.linspace(-1, 1, 4001), torch.full((4001,), 0.1)], -1).expand(2, -1, -1)
    steps = field.query(line, {"features": features})["rgb"].diff(dim=1).abs().max()
    assert steps < 0.01  # a jump between cells would be of the size of their difference


def test_a_field_of_features_is_learned_as_pixels_are() -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder(
        PictureEncoder(SIZE, levels=2, width=8, channels=16, heads=2),
        VQBottleneck(16, 4, codes=32),
        LocalPictureField(cells=8, features=8, hidden=16),
        lambda **sizes: PictureDecoder(**sizes, width=8, heads=2),
    ).train()
    batch = {"input": torch.linspace(-1, 1, SIZE).expand(2, 3, SIZE, SIZE)}
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        value, terms = PictureLoss()(autoencoder, batch, torch.Generator())
        optimizer.zero_grad()
        value.backward()
        assert [name for name, p in autoencoder.named_parameters() if p.grad is None] == []
        optimizer.step()
        losses.append(value.item())
    assert terms.keys() == {"pixels", "edges", "codebook", "commitment"}
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
