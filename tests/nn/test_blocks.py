"""Stacks of blocks, and linear maps with a particular start."""

import pytest
import torch
from torch import nn

from fieldforge.nn.blocks import Block, Stack
from fieldforge.nn.linear import pass_through


class Square(Block):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Square.calls += 1
        return x * x


@pytest.mark.parametrize(("checkpointing", "calls"), [(False, 1), (True, 2)])
def test_checkpointing_recomputes_a_block_once_and_changes_no_gradient(checkpointing: bool, calls: int):
    Square.calls = 0
    x = torch.tensor([3.0], requires_grad=True)
    Stack(checkpointing).call(Square(), x).backward()
    assert x.grad.tolist() == [6.0]
    assert Square.calls == calls


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (3, 5), (4, 4)])
def test_the_last_channels_pass_and_the_others_start_at_zero(inputs: int, outputs: int):
    linear = pass_through(inputs, outputs)
    x = torch.randn(2, inputs)
    shared = min(inputs, outputs)
    expected = torch.cat([torch.zeros(2, outputs - shared), x[:, inputs - shared :]], dim=1)
    torch.testing.assert_close(linear(x), expected)
    assert isinstance(linear, nn.Linear)
