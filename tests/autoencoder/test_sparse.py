"""Sparse latents: which cells are active, what their start is worth, their noise; samples do not touch each other."""

import pytest
import torch

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import SparseBottleneck
from fieldforge.autoencoder.sparse_decoder import SparseDecoder
from fieldforge.autoencoder.sparse_encoder import SparseEncoder, squashed, stretched
from fieldforge.fields.cell_field import CellField
from fieldforge.fields.quadric_field import QuadricField


def autoencoder(cells: int = 8, sides: int = 4, field: type[CellField] = QuadricField) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        SparseEncoder(cells, width=32, layers=1, narrow=8),
        SparseBottleneck(),
        field(cells, sides),
        lambda **shape: SparseDecoder(**shape, sides=sides, width=32, layers=1, narrow=8),
    ).eval()


def sphere(radius: float = 0.6, count: int = 4096, batch: int = 1, thickness: float = 0.0) -> torch.Tensor:
    normals = torch.nn.functional.normalize(
        torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    return torch.cat([normals * radius, normals, torch.tensor([0.8, 0.2, 0.2]).expand(batch, count, 3)], -1)


def test_cells_with_points_are_active_and_no_others():
    encoder = SparseEncoder(8, width=32, layers=1, narrow=8, margin=0.0)
    surface = sphere()
    expected = torch.zeros(8, 8, 8, dtype=torch.bool)
    for x, y, z in ((surface[0, :, :3] + 1) * 4).long().tolist():
        expected[x, y, z] = True
    latents = encoder(surface)
    assert latents.shape == (1, 512, 17)
    assert torch.equal(latents[0, :, 0] > 0, expected.flatten())
    assert (latents[0, ~expected.flatten(), 1:] == 0).all()


def test_a_margin_wakes_cells_beside_the_surface():
    count = {}
    for margin in (0.0, 0.2):
        encoder = SparseEncoder(8, width=32, layers=1, narrow=8, margin=margin)
        count[margin] = int((encoder(sphere())[..., 0] > 0).sum())
    point = torch.zeros(1, 1, 9)
    point[..., :3] = torch.tensor([0.01, 0.13, 0.13])  # beside the wall x = 0
    encoder = SparseEncoder(8, width=32, layers=1, narrow=8, margin=0.2)
    cells = (encoder(point)[0, :, 0] > 0).nonzero()[:, 0].tolist()
    assert cells == [(3 * 8 + 4) * 8 + 4, (4 * 8 + 4) * 8 + 4]
    assert count[0.2] > count[0.0]


@pytest.mark.parametrize(("field", "error"), [(CellField, 0.006), (QuadricField, 0.002)])
def test_untrained_it_holds_a_sphere_already(field, error):
    points = torch.rand(1, 4000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    model = autoencoder(field=field)
    with torch.no_grad():
        sdf = model.field.query(points, model.decode(model.encode({"input": sphere()})))["sdf"]
    true = points.norm(dim=-1) - 0.6
    assert ((sdf < 0) == (true < 0)).float().mean() > 0.98
    near = true.abs() < 0.05
    assert (sdf - true)[near].abs().mean() < error


def test_colour_starts_as_that_of_the_points():
    model, surface = autoencoder(), sphere()
    with torch.no_grad():
        rgb = model.field.query(surface[..., :3], model.decode(model.encode({"input": surface})))["rgb"]
    assert torch.allclose(rgb.mean(1), torch.tensor([[0.8, 0.2, 0.2]]), atol=0.08)


def test_cells_without_surface_have_the_colour_of_those_around_them():
    model, surface = autoencoder(), sphere()
    with torch.no_grad():
        rgb = model.field.query(torch.zeros(1, 1, 3), model.decode(model.encode({"input": surface})))["rgb"]
    torch.testing.assert_close(rgb[0, 0], torch.tensor([0.8, 0.2, 0.2]), rtol=0, atol=0.05)


def test_squashing_is_undone():
    values = torch.linspace(-20, 20, 101)
    assert torch.allclose(stretched(squashed(values).tanh()), values, rtol=1e-3, atol=1e-3)


def test_samples_of_a_batch_do_not_touch_each_other():
    model = autoencoder()
    both = torch.cat([sphere(0.6), sphere(0.3)])
    points = torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        together = model.field.query(points, model.decode(model.encode({"input": both})))["sdf"]
        for index in range(2):
            alone = model.field.query(points[[index]], model.decode(model.encode({"input": both[[index]]})))["sdf"]
            assert torch.allclose(together[index], alone[0], atol=1e-5)


def test_the_field_is_continuous_between_active_cells():
    model = autoencoder()
    torch.nn.init.normal_(model.decoder.to_features.weight, std=0.2)
    surface = sphere()
    wall = surface[:, :, :3].clone()
    wall[..., 0] = (wall[..., 0] * 4).round() / 4
    step = torch.tensor([1e-5, 0.0, 0.0])
    with torch.no_grad():
        params = model.decode(model.encode({"input": surface}))
        values = [model.field.query((wall + sign * step).clamp(-1, 1), params)["sdf"] for sign in (1, -1)]
        rows = [
            model.field._find((wall + sign * step).clamp(-1, 1), params["table"][..., 0].long())[1] for sign in (1, -1)
        ]
    both = (rows[0] >= 0) & (rows[1] >= 0)
    assert (rows[0] != rows[1])[both].any()
    assert (values[0] - values[1])[both].abs().max() < 1e-3


def test_nothing_active_is_an_empty_shape():
    model = autoencoder()
    latents = torch.full((2, 512, 17), -1.0)
    sdf = model.field.query(torch.zeros(2, 5, 3), model.decode(latents))["sdf"]
    assert (sdf == 0.25).all()


def test_noise_falls_on_active_cells_alone():
    bottleneck = SparseBottleneck(noise=0.1, noised=0.0)
    h = torch.zeros(2, 8, 3)
    h[..., 0] = -1
    h[0, :4, 0] = 1
    z, terms = bottleneck.train()(h, torch.Generator().manual_seed(0))
    assert not terms
    assert torch.equal(z[..., 0], h[..., 0])
    assert (z[0, :4, 1:] != 0).all()
    assert (z[0, 4:, 1:] == 0).all()
    assert (z[1, :, 1:] == 0).all()
    assert torch.equal(bottleneck.eval()(h)[0], bottleneck.latents(h))
    with pytest.raises(ValueError, match="randomness"):
        bottleneck.train()(h)


def test_generated_latents_get_the_form_of_encoded_ones():
    z = SparseBottleneck().restore(torch.tensor([[[0.2, 3.0, -0.5], [-0.1, 0.7, 0.1]]]))
    assert torch.equal(z, torch.tensor([[[1.0, 1.0, -0.5], [-1.0, 0.0, 0.0]]]))


def test_a_field_of_other_cells_is_refused():
    with pytest.raises(ValueError, match="CellField of 512 cells with sides=4"):
        SparseDecoder(512, 17, CellField(8, 2).param_shapes, sides=4)


def test_channels_get_the_deviations_that_their_meaning_deserves():
    model, surface = autoencoder(), sphere(batch=4)
    raw = model.encode({"input": surface}).flatten(0, 1)
    before = model.decode(model.encode({"input": surface}))
    model.set_statistics(raw.mean(0), raw.std(0))
    latents = model.encode({"input": surface}).flatten(0, 1)
    expected = torch.tensor([3.0, 1.5, *[1.0] * 3, *[0.5] * 6, *[1.25] * 3, *[0.5] * 3])
    torch.testing.assert_close(latents.std(0), expected, rtol=1e-3, atol=1e-3)
    after = model.decode(model.encode({"input": surface}))
    torch.testing.assert_close(before["cells"], after["cells"], rtol=1e-3, atol=1e-3)
