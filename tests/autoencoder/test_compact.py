"""Compact latents: the way there and back, what stays as it is, what is learned."""

import pytest
import torch
from tests.autoencoder.test_sparse import autoencoder, sphere

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import KLBottleneck, VQBottleneck
from fieldforge.autoencoder.compact import CompactAutoencoder, CompactEncoder
from fieldforge.autoencoder.compact_decoder import CompactDecoder
from fieldforge.autoencoder.compact_loss import CompactLoss
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.randomness import StepRandomness


def measured_base() -> Autoencoder:
    base = autoencoder()
    with torch.no_grad():
        latents = base.encode({"input": sphere()}).flatten(0, 1)
    base.set_statistics(latents.mean(0), latents.std(0))
    return base


def compact(base: Autoencoder | None = None) -> CompactAutoencoder:
    base = base or measured_base()
    torch.manual_seed(1)
    return CompactAutoencoder(
        base,
        lambda shape: CompactEncoder(shape, group=64, width=64, heads=2, layers=1),
        KLBottleneck(64, 16),
        lambda shape, channels: CompactDecoder(
            shape, channels, group=64, width=64, heads=2, layers=1, cell_width=32, cell_layers=1, narrow=8
        ),
    )


def randomness(step: int = 0, batch: int = 1) -> StepRandomness:
    return StepRandomness(0, step, range(batch), batch)


def test_a_box_of_cells_is_a_token():
    model = compact()
    assert model.latent_shape == LatentShape(8, 16, (2, 2, 2))
    latents = model.encode({"input": sphere(batch=2)})
    assert latents.shape == (2, 8, 16)
    assert model.decode(latents)["winding"].shape == (2, 512, 1)


def test_a_decoder_that_errs_in_nothing_gives_the_latents_of_the_base(monkeypatch):
    model = compact()
    sparse, active = model._base_latents({"input": sphere()})
    monkeypatch.setattr(model.decoder, "cells", lambda latents: (sparse, active.float() - 0.5))
    monkeypatch.setattr(model.decoder, "channels_of", lambda all, cells: all.flatten(0, 1)[cells.flat, 1:])
    torch.testing.assert_close(model._sparse(torch.zeros(1, 8, 16)), model.base.own_units(sparse))
    terms = model.compare_latents({"input": sphere()}, randomness())
    assert terms["channels"] == 0
    assert terms["surface"] == 0


def test_statistics_are_of_the_compact_latents_and_undone():
    model = compact().eval()
    model.set_statistics(torch.full((16,), 3.0), torch.full((16,), 2.0))
    plain = compact(model.base).eval()
    plain.load_state_dict({**model.state_dict(), "latent_mean": torch.zeros(16), "latent_std": torch.ones(16)})
    wanted = torch.tensor([2.5] * 3 + [1.0] * 13)
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode({"input": sphere()}) * 2 / wanted + 3, plain.encode({"input": sphere()})
        )
        scaled, unscaled = (each.decode(each.encode({"input": sphere()})) for each in (model, plain))
    for name in scaled:
        torch.testing.assert_close(scaled[name], unscaled[name], rtol=1e-4, atol=1e-4)


def test_the_base_gets_no_gradient():
    model = compact()
    loss, _ = CompactLoss()(model, {"input": sphere()}, randomness())
    loss.backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    assert without == {name for name, _ in model.named_parameters() if name.startswith("base.")}


def test_weights_of_a_base_start_it():
    base, model = measured_base(), compact()
    for value in base.parameters():
        torch.nn.init.normal_(value)
    own = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("base.")}
    model.load_state_dict(model.initial_weights(base.state_dict()))
    for name, value in base.state_dict().items():
        assert torch.equal(model.base.state_dict()[name], value)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in own.items())
    assert model.initial_weights(model.state_dict()).keys() == model.state_dict().keys()


def test_it_learns_cells_and_what_is_in_them():
    model, surface = compact(), torch.cat([sphere(0.7), sphere(0.4)])
    first: dict[str, torch.Tensor] = {}
    optimizer = torch.optim.Adam([value for value in model.parameters() if value.requires_grad], lr=3e-3)
    for step in range(150):
        loss, terms = CompactLoss()(model, {"input": surface}, randomness(step, 2))
        first = first or terms
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert terms["channels"] < 0.3 * first["channels"]
    assert terms["surface"] < 0.3 * first["surface"]
    model.eval()
    with torch.no_grad():
        sparse = model._sparse(model.bottleneck.latents(model.hidden({"input": surface})))
        _, active = model._base_latents({"input": surface})
        predicted = sparse[..., 0] > 0
        points = torch.rand(2, 2000, 3) * 2 - 1
        inside = model.field.query(points, model.decode(model.encode({"input": surface})))["sdf"] < 0
    assert (predicted & active).sum() / (predicted | active).sum() > 0.95
    true = points.norm(dim=-1) < torch.tensor([[0.7], [0.4]])
    assert (inside == true).float().mean() > 0.97


def test_colour_passes_through_a_fresh_one():
    model = compact()
    red, blue = sphere(), sphere()
    blue[..., 6:] = torch.tensor([0.1, 0.2, 0.9])
    colors = []
    for surface in (red, blue):
        sparse, active = model._base_latents({"input": surface})
        latents = model.bottleneck.latents(model.encoder(sparse, active))
        features, _ = model.decoder.cells(latents)
        active_cells = active.flatten().nonzero()[:, 0]
        shown = 3 * features.flatten(0, 1)[active_cells, -3:]
        colors.append((shown, sparse.flatten(0, 1)[active_cells, 11:14]))
    for shown, true in colors:
        torch.testing.assert_close(shown.mean(0), true.mean(0), rtol=0.1, atol=0.3)


def test_colour_of_cells_lies_between_those_of_boxes():
    decoder = compact().decoder
    latents = torch.zeros(1, 8, 16)
    latents[0, 4:, 0] = 1  # boxes at the end of the first axis
    _, colors = decoder.cells(latents)[0].split([24, 3], -1)  # (1, 512, 3)
    line = colors.view(8, 8, 8, 3)[:, 3, 3, 0]
    torch.testing.assert_close(line, torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]))


def test_boxes_without_surface_have_the_colour_of_those_around_them():
    encoder = CompactEncoder(LatentShape(512, 17, (8, 8, 8)), group=64, width=64, heads=2, layers=1)
    latents, active = torch.zeros(1, 512, 17), torch.zeros(1, 512, dtype=torch.bool)
    active[0, 5], latents[0, 5, 11:14] = True, torch.tensor([3.0, -3.0, 1.5])
    colors = encoder(latents, active)[0, :, -3:]
    torch.testing.assert_close(colors, torch.tensor([1.0, -1.0, 0.5]).expand(8, -1))


def test_other_autoencoders_and_terms_without_weight_are_refused():
    with pytest.raises(UserError, match="autoencoder=compact"):
        CompactLoss()(autoencoder(), {"input": sphere()}, randomness())
    with pytest.raises(UserError, match="cells in a cube"):
        CompactDecoder(LatentShape(256, 8), 16)
    with pytest.raises(ValueError, match="must be a KLBottleneck"):
        CompactAutoencoder(
            measured_base(), lambda shape: CompactEncoder(shape), VQBottleneck(320, 8, 16), CompactDecoder
        )
