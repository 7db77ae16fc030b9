import pytest
import torch

from fieldforge.nn.push_pull import push_pull


def grid(side: int, share: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Values of two samples where a share of the places is known, and those places."""
    generator = torch.Generator().manual_seed(seed)
    known = (torch.rand(2, 1, side, side, side, generator=generator) < share).float()
    return torch.rand(2, 3, side, side, side, generator=generator) * known, known


@pytest.mark.parametrize("side", [4, 6, 7, 16])
def test_what_is_known_stays_and_the_rest_lies_between(side):
    values, known = grid(side, 0.1)
    filled = push_pull(values, known)
    at = known.expand_as(values) > 0
    torch.testing.assert_close(filled[at], values[at])
    for sample, inside in zip(filled, known[:, 0] > 0, strict=True):
        for channel in range(3):
            assert sample[channel].min() >= sample[channel][inside].min() - 1e-6
            assert sample[channel].max() <= sample[channel][inside].max() + 1e-6


def test_one_known_place_is_everywhere_and_none_is_zero():
    values, known = torch.zeros(2, 1, 8, 8, 8), torch.zeros(2, 1, 8, 8, 8)
    values[0, 0, 1, 2, 3], known[0, 0, 1, 2, 3] = 0.7, 1
    filled = push_pull(values, known)
    torch.testing.assert_close(filled[0], torch.full((1, 8, 8, 8), 0.7))
    assert (filled[1] == 0).all()


def test_places_read_what_is_nearest():
    values, known = torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    known[..., 0, :, :] = known[..., 15, :, :] = 1
    values[..., 15, :, :] = 1
    filled = push_pull(values, known)[0, 0]
    assert filled[1:4].max() < 0.5 < filled[12:15].min()
