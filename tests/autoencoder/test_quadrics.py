"""Quadrics against the surfaces that they are able to hold exactly."""

import pytest
import torch
from torch.nn.functional import normalize

from fieldforge.autoencoder.quadrics import fit_quadrics
from fieldforge.fields.quadric_field import monomials


def cloud(seed: int, count: int = 400) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def plane(offset: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    normal = normalize(torch.tensor([1.0, 2.0, -2.0]), dim=0)
    points = cloud(0)
    points = points - ((points @ normal) - offset)[:, None] * normal
    return points, normal.expand_as(points)


def slab(half: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    points = cloud(1)
    side = torch.where(torch.arange(len(points)) % 2 == 0, 1.0, -1.0)
    points[:, 2] = side * half
    return points, torch.stack([0 * side, 0 * side, side], -1)


def sphere(radius: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    normals = normalize(torch.randn(400, 3, generator=torch.Generator().manual_seed(2)), dim=-1)
    return normals * radius, normals


TRUTH = {
    "plane": (plane(), lambda x: x @ normalize(torch.tensor([1.0, 2.0, -2.0]), dim=0) - 0.3, 0.01),
    "slab": (slab(), lambda x: (x[:, 2].square() - 0.01) / 0.2, 0.02),
    "sphere": (sphere(), lambda x: (x.square().sum(-1) - 0.64) / 1.6, 0.1),
}


@pytest.mark.parametrize("name", TRUTH)
def test_a_quadric_is_found_again(name):
    (points, normals), truth, tolerance = TRUTH[name]
    coefficients = fit_quadrics(points, normals, torch.zeros(len(points), dtype=torch.long), 1)
    where = cloud(3) * (1 if name != "slab" else torch.tensor([1.0, 1.0, 0.15]))
    if name == "slab":  # the ridge holds a steep parabola back, not its two sides
        values = (monomials(where) @ coefficients[0]).sign()
        assert (values == truth(where).sign()).float().mean() > 0.9
    else:
        assert (monomials(where) @ coefficients[0] - truth(where)).abs().max() < tolerance


def test_each_cell_has_its_own():
    (first, first_normals), (second, second_normals) = plane(), sphere()
    cell = torch.cat([torch.zeros(len(first)), torch.ones(len(second))]).long()
    mixed = torch.randperm(len(cell), generator=torch.Generator().manual_seed(4))
    points, normals = torch.cat([first, second])[mixed], torch.cat([first_normals, second_normals])[mixed]
    together = fit_quadrics(points, normals, cell[mixed], 2)
    apart = [
        fit_quadrics(p, n, torch.zeros(len(p)).long(), 1)[0]
        for p, n in ((first, first_normals), (second, second_normals))
    ]
    assert torch.allclose(together, torch.stack(apart), atol=1e-4)


def test_one_point_is_enough():
    coefficients = fit_quadrics(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1).long(), 1)
    assert torch.allclose(coefficients[0, :4], torch.tensor([0.0, 0.0, 1.0, 0.0]), atol=1e-3)
