import math

import pytest
import torch

from fieldforge.nn.batched_mlp import batched_linear, batched_mlp
from fieldforge.nn.embeddings import (
    NoiseLevelEmbedding,
    positional_encoding,
    positional_encoding_width,
    sinusoidal_embedding,
)


def test_positional_encoding_by_hand():
    encoded = positional_encoding(torch.tensor([[0.5, -0.25]], dtype=torch.float64), degrees=2)
    s, c, p = math.sin, math.cos, math.pi
    expected = [0.5, -0.25, s(p / 2), s(-p / 4), s(p), s(-p / 2), c(p / 2), c(-p / 4), c(p), c(-p / 2)]
    torch.testing.assert_close(encoded, torch.tensor([expected], dtype=torch.float64))
    assert encoded.shape[-1] == positional_encoding_width(2, dimensions=2)


def test_positional_encoding_of_fifteen_degrees_is_93_wide():
    assert positional_encoding(torch.zeros(4, 3), 15).shape == (4, 93)
    assert torch.equal(positional_encoding(torch.ones(4, 3), 0), torch.ones(4, 3))


def test_sinusoidal_embedding_by_hand():
    embedded = sinusoidal_embedding(torch.tensor([0.3]), 6, highest=100.0)[0]
    expected = [math.cos(0.3), math.cos(3), math.cos(30), math.sin(0.3), math.sin(3), math.sin(30)]
    torch.testing.assert_close(embedded, torch.tensor(expected), rtol=0, atol=1e-5)


def test_noise_levels_are_told_apart():
    """A thousandth of a unit moves the embedding; the whole range is never aliased."""
    levels = torch.linspace(-2, 2, 4001)
    embedded = sinusoidal_embedding(levels, 256)
    assert (embedded.diff(dim=0).norm(dim=1) > 0.5).all()
    far = torch.cdist(embedded[::100], embedded[::100]) + 1e3 * torch.eye(41)
    assert far.min() > 1.0
    assert NoiseLevelEmbedding(32)(levels[:3]).shape == (3, 32)


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match="even width"):
        sinusoidal_embedding(torch.zeros(2), 7)


def test_batched_mlp_is_one_network_per_sample():
    torch.manual_seed(0)
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    weights = [torch.randn(3, 5, 4, dtype=torch.float64), torch.randn(3, 2, 5, dtype=torch.float64)]
    biases = [torch.randn(5, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)]
    out = batched_mlp(x, weights, biases)
    for b in range(3):
        hidden = torch.nn.functional.silu(x[b] @ weights[0][b].T + biases[0])
        torch.testing.assert_close(out[b], hidden @ weights[1][b].T + biases[1][b])
    torch.testing.assert_close(batched_linear(x, weights[0]), torch.einsum("bni,boi->bno", x, weights[0]))


def test_batched_mlp_checks_its_lists():
    with pytest.raises(ValueError, match="one bias"):
        batched_mlp(torch.zeros(1, 1, 1), [torch.zeros(1, 1, 1)], [])
