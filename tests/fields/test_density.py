"""LaplaceDensity against the Laplace distribution of scipy."""

import pytest
import torch
from scipy.stats import laplace

from fieldforge.fields.density import LaplaceDensity


def test_density_is_the_scaled_laplace_cdf():
    density = LaplaceDensity(initial=0.05, smallest=0.01)
    sdf = torch.linspace(-0.4, 0.4, 33)[None]
    expected = laplace(scale=0.05).cdf(-sdf.numpy()) / 0.05
    torch.testing.assert_close(density(sdf).detach(), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-6)


def test_beta_never_falls_below_the_smallest():
    density = LaplaceDensity(initial=0.05, smallest=0.01)
    with torch.no_grad():
        density.log_beta.fill_(-50.0)
    assert density.beta.item() == pytest.approx(0.01)


def test_gradient_is_finite_far_from_the_surface():
    density = LaplaceDensity(initial=0.003001, smallest=0.003)
    sdf = torch.tensor([[-3.0, 0.0, 3.0]], requires_grad=True)
    density(sdf).sum().backward()
    assert sdf.grad is not None
    assert torch.isfinite(sdf.grad).all()


def test_bounds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="smallest < initial"):
        LaplaceDensity(initial=0.01, smallest=0.02)
