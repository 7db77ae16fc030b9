import pytest
import torch
from torch import nn

from fieldforge.nn import wide_linear
from fieldforge.nn.wide_linear import WIDE, WideLinear


def gradients(linear, x, enabled):
    linear.zero_grad()
    leaf = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        out = linear(leaf)
    out.float().square().sum().backward()
    return [out.detach().float(), leaf.grad, linear.weight.grad.clone(), linear.bias.grad.clone()]


@pytest.mark.parametrize("tiles", [False, True])
def test_wide_training_in_bfloat16_is_the_linear_map(tiles, monkeypatch):
    """The same numbers as torch's own map gives in bfloat16, and close to float32's."""
    monkeypatch.setattr(wide_linear, "TILES", tiles)
    torch.manual_seed(0)
    wide, plain, x = WideLinear(WIDE, 24), nn.Linear(WIDE, 24), torch.randn(3, 7, WIDE)
    plain.load_state_dict(wide.state_dict())
    for ours, torchs, exact in zip(
        gradients(wide, x, True), gradients(plain, x, True), gradients(plain, x, False), strict=True
    ):
        torch.testing.assert_close(ours, torchs, rtol=2e-2, atol=2e-2 * float(exact.abs().max()))
        assert (ours - exact).norm() < 0.01 * exact.norm()


def test_elsewhere_it_is_torch_s_own():
    torch.manual_seed(0)
    wide, x = WideLinear(WIDE, 24), torch.randn(7, WIDE)
    assert torch.equal(wide(x), nn.functional.linear(x, wide.weight, wide.bias))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(wide(x), nn.functional.linear(x, wide.weight, wide.bias))
