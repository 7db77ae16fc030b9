"""Winding numbers on a grid against the sum they stand for, and on closed and open boxes."""

import math

import torch

from fieldforge.nn.winding import WindingNumber


def box(cells: int, low: int, high: int, lid: bool = True) -> torch.Tensor:
    """Dipoles of the cells that are the walls of a box: outward, a face's area each."""
    dipoles = torch.zeros(cells, cells, cells, 3)
    inner = slice(low, high)
    for axis in range(3):
        for end, sign in ((low - 1, -1.0), (high, 1.0)):
            if axis == 1 and sign > 0 and not lid:
                continue
            where = [inner, inner, inner]
            where[axis] = end
            dipoles[(*where, axis)] = sign
    return dipoles


def test_it_is_the_sum_over_all_dipoles():
    c = 4
    dipoles = torch.randn(2, c, c, c, 3, generator=torch.Generator().manual_seed(0))
    places = torch.stack(torch.meshgrid(*[torch.arange(c).float()] * 3, indexing="ij"), -1).view(-1, 3)
    toward = places[None] - places[:, None]  # (q, p, 3) = p - q
    cubed = toward.norm(dim=-1).pow(3)
    kernel = torch.where(cubed[..., None] > 0, toward / (4 * math.pi * cubed.clamp(min=1)[..., None]), 0.0)
    direct = torch.einsum("qpk,bpk->bq", kernel, dipoles.view(2, -1, 3))
    assert torch.allclose(WindingNumber(c)(dipoles).reshape(2, -1), direct, atol=1e-5)


def test_inside_is_one_and_outside_is_zero():
    number = WindingNumber(16)(box(16, 5, 11)[None])[0]
    assert (number[6:10, 6:10, 6:10] - 1).abs().max() < 0.2
    assert number[0].abs().max() < 0.1


def test_a_box_without_lid_has_an_inside_below_its_rim():
    number = WindingNumber(16)(box(16, 5, 11, lid=False)[None])[0]
    assert (number[7:9, 5:8, 7:9] > 0.5).all()
    assert (number[:, 14] < 0.3).all()
