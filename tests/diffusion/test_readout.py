"""The way out of a backbone, and what is counted of a denoiser."""

import torch

from fieldforge.diffusion.backbones.readout import Readout
from fieldforge.diffusion.denoiser import Estimate, Watched, estimate
from fieldforge.nn.grouping import Patches


def test_a_backbone_starts_with_an_output_of_zero():
    readout = Readout(Patches(8, 4, "group"), channels=3, output_channels=6, width=16)
    out = readout(torch.randn(2, 2, 16), torch.randn(2, 8, 3), torch.randn(2, 16))
    assert out.shape == (2, 8, 6)
    assert not out.any()


def test_gain_scales_each_number_of_the_input():
    readout = Readout(Patches(4, 2, "group"), channels=3, output_channels=3, width=16)
    x, vector = torch.randn(2, 4, 3), torch.randn(2, 16)
    with torch.no_grad():
        for parameter in readout.gain.parameters():
            parameter.normal_()
    (gain,) = readout.gain(vector)  # (2, 1, 6): one of each place in a patch, for every patch
    expected = x * gain.view(2, 1, 2, 3).expand(2, 2, 2, 3).reshape(2, 4, 3)
    torch.testing.assert_close(readout(torch.randn(2, 2, 16), x, vector), expected)


def test_evaluations_are_counted_and_shown_and_a_learned_variance_goes_through():
    class Learned:
        def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return self.estimate(x, t).x0

        def estimate(self, x: torch.Tensor, t: torch.Tensor) -> Estimate:
            return Estimate(2 * x, 0.5 * x)

    counts: list[tuple[int, float]] = []
    watched = Watched(Learned(), lambda count, x0: counts.append((count, x0.item())))
    x = torch.ones(1, 1, 1)
    assert watched(x, torch.ones(1)).item() == 2
    assert estimate(watched, x, torch.ones(1)).fraction.item() == 0.5
    assert counts == [(1, 2.0), (2, 2.0)]
    assert estimate(lambda x, t: 3 * x, x, torch.ones(1)) == Estimate(3 * x, None)
