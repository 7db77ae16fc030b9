"""Quadrics of cells, read where they are asked: exact for one quadric, continuous between different ones."""

import torch
from tests.fields.test_cell_field import CELLS

from fieldforge.fields.quadric_field import BAND, COEFFICIENTS, QuadricField, monomials, moved


def plain_field() -> QuadricField:
    """Without perceptrons: the quadrics alone are the distance."""
    field = QuadricField(CELLS, 2, features=4, hidden=8)
    for part in (field.to_distance, field.to_color):
        torch.nn.init.zeros_(part[-1].weight)
    return field


def params_of(quadrics: torch.Tensor, active: torch.Tensor) -> dict[str, torch.Tensor]:
    """quadrics (A, 10) of the middle of the box, active (c³,) of one sample."""
    table = torch.full((1, CELLS**3, 1), -1.0)
    table[0, active, 0] = torch.arange(int(active.sum())).float()
    return {
        "cells": torch.zeros(1, len(quadrics), 27 * 4),
        "quadrics": quadrics[None],
        "table": table,
        "winding": torch.zeros(1, CELLS**3, 1),
        "colors": torch.zeros(1, CELLS**3, 3),
    }


def points_in_box(count: int = 500) -> torch.Tensor:
    return torch.rand(1, count, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_one_quadric_of_all_cells_is_exact_everywhere():
    """A sheet of thickness 0.02, far thinner than the lattice is fine: x² / 0.02 - 0.005, within the field's ±2."""
    sheet = torch.zeros(COEFFICIENTS)
    sheet[0], sheet[4] = -0.005 * CELLS, 50 / CELLS
    points = points_in_box()
    points[..., 0] *= 0.1
    with torch.no_grad():
        every = torch.ones(CELLS**3, dtype=torch.bool)
        sdf = plain_field().query(points, params_of(sheet.expand(CELLS**3, -1), every))["sdf"]
    truth = (50 * points[..., 0].square() - 0.005).clamp(-2 / CELLS, 2 / CELLS)
    torch.testing.assert_close(sdf, truth, atol=1e-5, rtol=0)


def test_quadrics_are_blended_near_walls_alone():
    generator = torch.Generator().manual_seed(1)
    every = torch.ones(CELLS**3, dtype=torch.bool)
    quadrics = torch.zeros(CELLS**3, COEFFICIENTS)
    quadrics[:, 0] = torch.rand(CELLS**3, generator=generator) - 0.5
    points = points_in_box(4000)
    field, params = plain_field(), params_of(quadrics, every)
    scaled = (points[0] + 1) * (CELLS / 2)
    from_wall = (scaled - scaled.round()).abs()
    inner_wall = (scaled.round() > 0) & (scaled.round() < CELLS)
    alone = ((from_wall > BAND / 2) | ~inner_wall).all(-1)
    x, y, z = scaled.floor().long().clamp(max=CELLS - 1).unbind(-1)
    own = quadrics[(x * CELLS + y) * CELLS + z, 0] / CELLS
    with torch.no_grad():
        sdf = field.query(points, params)["sdf"][0]
        step = torch.tensor([1e-4, 0.0, 0.0])
        walls = points.clone()
        walls[..., 0] = 0.0
        across = [field.query(walls + sign * step, params)["sdf"] for sign in (1, -1)]
    torch.testing.assert_close(sdf[alone], own[alone])
    assert (sdf[~alone] - own[~alone]).abs().max() > 0.01
    assert (across[0] - across[1]).abs().max() < 2e-3


def test_cells_that_are_not_active_have_no_say():
    active = torch.zeros(CELLS**3, dtype=torch.bool)
    active[(1 * CELLS + 1) * CELLS + 1] = True  # [-0.5, 0]³
    quadric = torch.zeros(1, COEFFICIENTS)
    quadric[0, 0] = 0.3
    points = torch.tensor([[[-0.001, -0.001, -0.001], [-0.25, -0.25, -0.25], [0.001, -0.2, -0.2]]])
    with torch.no_grad():
        sdf = plain_field().query(points, params_of(quadric, active))["sdf"][0]
    torch.testing.assert_close(sdf, torch.tensor([0.3 / CELLS, 0.3 / CELLS, 2 / CELLS]))


def test_a_moved_quadric_has_the_values_of_the_old_place():
    generator = torch.Generator().manual_seed(2)
    coefficients, shift = torch.randn(50, 10, generator=generator), 3 * torch.randn(50, 3, generator=generator)
    x = torch.randn(50, 3, generator=generator)
    expected = (coefficients * monomials(x)).sum(-1)
    values = (moved(coefficients, shift) * monomials(x + shift)).sum(-1)
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)
