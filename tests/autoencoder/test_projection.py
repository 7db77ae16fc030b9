"""Tokens → rows of parameters: which token makes which row, and how the field begins."""

import pytest
import torch

from fieldforge.autoencoder.projection import LatticeProjection, PerRowProjection


def test_each_token_makes_its_own_share_of_rows():
    project = PerRowProjection(4, 6, 1, {"a": (4, 5), "b": (4, 3)})
    tokens = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    before = project(tokens, tokens)
    assert {name: tuple(rows.shape) for name, rows in before.items()} == {"a": (2, 4, 5), "b": (2, 4, 3)}
    changed = tokens.clone()
    changed[:, 1] += 1.0  # the second of four tokens: rows 2 and 3 of the eight, all of them of `a`
    after = project(changed, changed)
    differs = [bool((before["a"][:, row] != after["a"][:, row]).any()) for row in range(4)]
    assert differs == [False, False, True, True]
    torch.testing.assert_close(before["b"], after["b"], rtol=0, atol=0)


def test_rows_are_layer_norms_of_a_linear_map():
    project = PerRowProjection(1, 3, 1, {"a": (2, 4)}, gain=0.5)
    tokens = torch.randn(1, 1, 3)
    rows = torch.stack([tokens[0, 0] @ project.maps["a"][row] for row in range(2)])
    expected = 0.5 * torch.nn.functional.layer_norm(rows, (4,))
    torch.testing.assert_close(project(tokens, tokens)["a"][0], expected)


def test_tokens_that_do_not_divide_the_rows_are_refused():
    with pytest.raises(ValueError, match="6 rows and 4 tokens"):
        PerRowProjection(4, 8, 1, {"a": (6, 2)})


def test_a_cell_fills_its_own_patch_of_the_lattice():
    project = LatticeProjection(8, 5, 1, {"lattice": (64, 2)})  # 2³ cells of 2³ points on a 4³ lattice
    tokens = torch.randn(1, 8, 5)
    changed = tokens.clone()
    changed[:, 5] += 1.0  # cell x = 1, y = 0, z = 1
    difference = (project(tokens, tokens)["lattice"] - project(changed, changed)["lattice"]).abs().sum(-1)
    places = difference.view(4, 4, 4).nonzero()
    assert places.amin(0).tolist() == [2, 0, 2]
    assert places.amax(0).tolist() == [3, 1, 3]


def test_generated_weights_begin_equal_for_all_assets():
    project = LatticeProjection(8, 5, 1, {"lattice": (64, 2), "weight": (3, 4)})
    first, second = torch.randn(2, 1, 8, 5)
    torch.testing.assert_close(project(first, first)["weight"], project(second, second)["weight"])


def test_cells_that_are_no_cube_are_refused():
    with pytest.raises(ValueError, match="no cubic cells"):
        LatticeProjection(9, 5, 1, {"lattice": (64, 2)})
