"""Parts of picture autoencoders against closed forms and independent implementations."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import KLBottleneck
from fieldforge.autoencoder.picture_loss import PictureLoss, edge_distance
from fieldforge.autoencoder.pictures import PictureDecoder, PictureEncoder
from fieldforge.domains.pictures import pixel_centres
from fieldforge.fields.picture import PictureGrid

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
    with pytest.raises(ValueError, match="pass it draws"):
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
    latents = autoencoder.encode(torch.rand(2, 3, SIZE, SIZE))
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
