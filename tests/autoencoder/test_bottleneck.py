"""Means of real latents lie in the hull of a bottleneck, and nothing outside of it stays there."""

import pytest
import torch

from fieldforge.autoencoder.bottleneck import Bottleneck, KLBottleneck, NoisyBottleneck, SparseBottleneck, VQBottleneck
from fieldforge.noise.processes import PowerLaw

BOTTLENECKS = {
    "noisy": lambda: NoisyBottleneck(PowerLaw(5.0)),
    "sparse": lambda: SparseBottleneck(),
    "kl": lambda: KLBottleneck(5, 4),
    "vq": lambda: VQBottleneck(5, 4, codes=16),
}


def latents_of(bottleneck: Bottleneck, count: int = 64) -> torch.Tensor:
    h = 3 * torch.randn(count, 7, 5, generator=torch.Generator().manual_seed(0))
    return bottleneck.restore(bottleneck.latents(h)).detach()


@pytest.mark.parametrize("build", BOTTLENECKS.values(), ids=BOTTLENECKS.keys())
def test_means_of_latents_stay_as_they_are(build):
    latents = latents_of(build())
    weights = torch.rand(10, len(latents), generator=torch.Generator().manual_seed(1))
    means = torch.einsum("nb,btc->ntc", weights / weights.sum(1, keepdim=True), latents)
    for inside in (latents, means):
        torch.testing.assert_close(build().hull(inside), inside)


@pytest.mark.parametrize("name", ["noisy", "sparse", "vq"])
def test_what_lies_outside_is_put_onto_the_hull_and_stays_there(name):
    bottleneck = BOTTLENECKS[name]()
    outside = 3 * latents_of(bottleneck)
    once = bottleneck.hull(outside)
    assert (once - outside).abs().max() > 0.5
    torch.testing.assert_close(bottleneck.hull(once), once)


def test_a_cell_that_is_hardly_active_has_hardly_features():
    estimate = torch.tensor([[[-0.8, 0.9, -0.9, 0.05], [2.0, 1.5, -0.2, 0.0], [-3.0, 0.4, 0.0, -0.1]]])
    expected = torch.tensor([[[-0.8, 0.1, -0.1, 0.05], [1.0, 1.0, -0.2, 0.0], [-1.0, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(SparseBottleneck().hull(estimate), expected)
