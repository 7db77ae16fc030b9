import numpy as np
import pytest
import torch

from fieldforge.nn.places import first_places, grid_places


def sincos_of_mae(width, rows, columns):
    """`get_2d_sincos_pos_embed` of MAE (He et al. 2022) and timm, for grids that are not square: rows first."""

    def one_axis(positions):  # (M,) → (M, width / 2)
        omega = np.arange(width // 4, dtype=np.float64)
        omega = 1.0 / 10000 ** (omega / (width / 4))
        out = np.einsum("m,d->md", positions.reshape(-1), omega)
        return np.concatenate([np.sin(out), np.cos(out)], axis=1)

    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.concatenate([one_axis(row), one_axis(column)], axis=1)


def test_two_axes_are_mae():
    expected = torch.from_numpy(sincos_of_mae(32, 5, 7)).float()
    torch.testing.assert_close(grid_places((5, 7), 32), expected)


def test_one_axis_is_the_first_transformer():
    """Vaswani et al. 2017: PE(pos, 2i) = sin(pos / 10000^(2i / d)), PE(pos, 2i + 1) = cos of the same."""
    places = grid_places((6,), 8)
    for position in range(6):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            assert float(places[position, i]) == pytest.approx(np.sin(angle), abs=1e-6)
            assert float(places[position, 4 + i]) == pytest.approx(np.cos(angle), abs=1e-6)


@pytest.mark.parametrize("grid", [(9,), (5, 6), (3, 4, 5), (2, 3, 2, 3)])
def test_alike_is_what_is_near(grid):
    """The product of two places is a function of their offset alone, and greatest where that is zero."""
    places = grid_places(grid, 50).double()  # 50: channels are left over for 3 and 4 axes
    index = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, len(grid))
    likeness = (places @ places.T).numpy()
    by_offset = {}
    for i, a in enumerate(index):
        for j, b in enumerate(index):
            by_offset.setdefault(tuple(a - b), []).append(likeness[i, j])
    assert len(by_offset) == np.prod([2 * n - 1 for n in grid])
    for values in by_offset.values():
        np.testing.assert_allclose(values, values[0], atol=1e-5)
    zero = by_offset.pop((0,) * len(grid))[0]
    assert zero == pytest.approx(50 // (2 * len(grid)) * len(grid), abs=1e-5)  # sin² + cos² of each wave
    assert max(values[0] for values in by_offset.values()) < zero - 0.1


def test_rows_are_in_row_major_order():
    """A step along the last axis changes its own channels only."""
    places = grid_places((2, 3, 4), 24).view(2, 3, 4, 3, 8)
    for axis in range(3):
        for other in range(3):
            changes = bool(places.diff(dim=axis)[..., other, :].any())
            assert changes == (axis == other)


def test_a_width_without_room_is_refused():
    with pytest.raises(ValueError, match="3 axes need a width of at least 6, not 5"):
        grid_places((2, 2, 2), 5)


def test_without_grid_positions_are_noise():
    torch.manual_seed(0)
    noise = first_places(3, 4, None, deviation=0.02)
    torch.manual_seed(0)
    assert torch.equal(noise, torch.randn(3, 4) * 0.02)
    assert torch.equal(first_places(6, 8, (2, 3), deviation=0.02), grid_places((2, 3), 8))
