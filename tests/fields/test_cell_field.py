"""The field of active cells: exact where features are linear, continuous between cells, far from surfaces elsewhere."""

import torch

from fieldforge.fields.cell_field import CellField, corner_grid

CELLS = 4


def plain_field() -> CellField:
    """Without perceptrons: the first feature alone is the distance."""
    field = CellField(CELLS, 2, features=4, hidden=8)
    for part in (field.to_distance, field.to_color):
        torch.nn.init.zeros_(part[-1].weight)
    return field


def params_of(function, active: torch.Tensor, winding: float = 0.0) -> dict[str, torch.Tensor]:
    """Features of a function of box coordinates at the lattice points of the active cells (c³,) of one sample."""
    places = torch.stack(torch.meshgrid(*[torch.arange(CELLS)] * 3, indexing="ij"), -1).view(-1, 3)[active]
    points = (places[:, None] + (corner_grid(2) + 1) / 2) * (2 / CELLS) - 1  # (A, 27, 3)
    features = torch.zeros(*points.shape[:2], 4)
    features[..., 0] = function(points) * CELLS
    table = torch.full((1, CELLS**3, 1), -1.0)
    table[0, active, 0] = torch.arange(int(active.sum())).float()
    return {
        "cells": features.flatten(1)[None],
        "table": table,
        "winding": torch.full((1, CELLS**3, 1), winding),
        "colors": torch.zeros(1, CELLS**3, 3),
    }


def linear(points: torch.Tensor) -> torch.Tensor:
    return 0.3 * points[..., 0] - 0.5 * points[..., 1] + 0.1 * points[..., 2] + 0.05


def test_a_linear_distance_is_exact_everywhere():
    every = torch.ones(CELLS**3, dtype=torch.bool)
    points = torch.rand(1, 500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    points[0, :9] = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0, 0.25, -0.25, 0.75, -0.75])[:, None]  # walls and corners
    with torch.no_grad():
        sdf = plain_field().query(points, params_of(linear, every))["sdf"]
    assert torch.allclose(sdf, linear(points), atol=1e-5)


def test_points_on_the_wall_of_an_active_cell_are_its_own():
    active = torch.zeros(CELLS**3, dtype=torch.bool)
    active[(1 * CELLS + 1) * CELLS + 1] = True  # [-0.5, 0]³
    corners = (corner_grid(1) - 1) / 4
    inside = corners * 0.98 - 0.005
    with torch.no_grad():
        field, params = plain_field(), params_of(linear, active)
        assert torch.allclose(field.query(corners[None], params)["sdf"][0], linear(corners), atol=1e-5)
        assert torch.allclose(field.query(inside[None], params)["sdf"][0], linear(inside), atol=1e-5)
        beyond = torch.tensor([[[0.01, -0.2, -0.2]]])
        assert float(field.query(beyond, params)["sdf"]) == 0.5


def test_the_winding_number_says_which_side():
    none = torch.zeros(CELLS**3, dtype=torch.bool)
    points = torch.zeros(1, 1, 3)
    for winding, sdf in ((0.0, 0.5), (1.0, -0.5), (0.5, 0.0)):
        params = params_of(linear, none, winding)
        params["cells"] = torch.zeros(1, 1, 27 * 4)
        with torch.no_grad():
            assert abs(float(plain_field().query(points, params)["sdf"]) - sdf) < 1e-6


def test_where_no_cell_is_active_colours_are_those_of_cells():
    params = params_of(linear, torch.zeros(CELLS**3, dtype=torch.bool))
    params["cells"] = torch.zeros(1, 1, 27 * 4)
    along = torch.linspace(-0.75, 0.75, CELLS)  # of the cells' centres
    x, y, z = torch.meshgrid(along, along, along, indexing="ij")
    params["colors"] = torch.stack([x, -y, z / 2], -1).view(1, -1, 3)
    points = torch.rand(1, 100, 3, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.7
    with torch.no_grad():
        rgb = plain_field().query(points, params)["rgb"]
    assert torch.allclose(rgb, (points * torch.tensor([1.0, -1.0, 0.5]) + 1) / 2, atol=1e-5)


def test_samples_of_a_batch_are_read_apart():
    every = torch.ones(CELLS**3, dtype=torch.bool)
    one, other = params_of(linear, every), params_of(lambda p: -linear(p), every)
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    points = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sdf = plain_field().query(points, both)["sdf"]
    assert torch.allclose(sdf, torch.stack([linear(points[0]), -linear(points[1])]), atol=1e-5)


def test_gradients_reach_points_and_features():
    field, every = CellField(CELLS, 2, features=4, hidden=8).double(), torch.ones(CELLS**3, dtype=torch.bool)
    params = {name: value.double() for name, value in params_of(linear, every).items()}
    points = (torch.rand(1, 20, 3, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9).requires_grad_()
    params["cells"].requires_grad_()
    field.float().query(points, params)["sdf"].sum().backward()
    expected = torch.tensor([0.3, -0.5, 0.1]).expand(20, 3)
    assert torch.allclose(points.grad[0], expected, atol=0.2)
    assert params["cells"].grad.abs().sum() > 0


def test_the_distance_alone_is_that_of_all_heads():
    torch.manual_seed(0)
    field, active = CellField(CELLS, 2, features=4, hidden=8), torch.rand(CELLS**3) < 0.3
    params = params_of(linear, active, winding=0.8)
    points = torch.cat([torch.rand(1, 300, 3) * 2 - 1, torch.randint(0, 9, (1, 300, 3)) / 4 - 1], 1)  # half on walls
    values = field.query(points, params)
    assert torch.equal(field.query_head("sdf", points, params), values["sdf"])
    assert torch.equal(field.query_head("rgb", points, params), values["rgb"])


def test_points_on_walls_find_active_cells_of_their_own_sample():
    table = torch.full((2, CELLS**3), -1)
    table[0, 0], table[1, -1] = 0, 0  # the first cell of one sample, the last of the other
    points = torch.tensor([-0.5, 0.5])[None, :, None].expand(
        2, 2, 3
    )  # corners of these cells, which lie on three walls
    cell, row = CellField(CELLS)._find(points, table)
    assert row.tolist() == [[0, -1], [-1, 0]]
    assert cell[0, 0].tolist() == [0, 0, 0]
    assert cell[1, 1].tolist() == [CELLS - 1] * 3


def test_cells_without_surface_outside_are_empty_space():
    torch.manual_seed(0)
    field, active = plain_field(), torch.rand(CELLS**3) < 0.5
    points = torch.rand(1, 500, 3) * 2 - 1
    for winding, expected in ((0.0, 0.0), (1.0, 1 / float(field.density.beta.detach()))):
        values = field.query(points, params_of(linear, active, winding))
        _, row = field._find(points, params_of(linear, active)["table"][..., 0].long())
        torch.testing.assert_close(values["density"][row < 0].mean(), torch.tensor(expected), rtol=1e-4, atol=0)
        assert torch.equal(values["density"][row >= 0], field.density(values["sdf"])[row >= 0])
