import pytest
import torch

from fieldforge.nn.grouping import Patches, box_sides


@pytest.mark.parametrize(
    ("grid", "size", "sides"),
    [
        ((16, 16), 4, (2, 2)),
        ((16, 16), 8, (2, 4)),
        ((8, 8, 8), 8, (2, 2, 2)),
        ((8, 8, 8), 128, (4, 4, 8)),
        ((3, 8), 12, (3, 4)),
        ((3, 8), 8, (1, 8)),
        ((5, 7), 35, (5, 7)),
        ((12,), 6, (6,)),
        ((4, 4), 1, (1, 1)),
    ],
)
def test_boxes_are_as_equal_as_the_grid_allows(grid, size, sides):
    assert box_sides(grid, size) == sides


def test_patches_are_those_of_a_picture():
    """Two by two pixels of a 4 × 6 picture, by torch's own unfolding."""
    x = torch.randn(2, 24, 3)
    picture = x.view(2, 4, 6, 3).permute(0, 3, 1, 2)  # (B, C, H, W)
    unfolded = torch.nn.functional.unfold(picture, 2, stride=2)  # (B, C · 4, 6)
    expected = unfolded.view(2, 3, 4, 6).permute(0, 3, 2, 1).flatten(2)  # (B, 6, 4 · C)
    patches = Patches(24, 4, "group", (4, 6))
    assert torch.equal(patches.join(x), expected)
    assert patches.grid == (2, 3)


@pytest.mark.parametrize(("grid", "group"), [(None, 6), ((4, 6), 6), ((2, 3, 4), 8), ((24,), 4)])
def test_what_is_joined_comes_apart_again(grid, group):
    x, patches = torch.randn(2, 24, 5), Patches(24, group, "group", grid)
    joined = patches.join(x)
    assert joined.shape == (2, patches.tokens, 5 * patches.size)
    assert torch.equal(patches.split(joined), x)


def test_without_grid_patches_are_runs():
    x, patches = torch.randn(2, 12, 3), Patches(12, 4, "group")
    assert torch.equal(patches.join(x), x.reshape(2, 3, 12))
    assert patches.grid is None
