"""What a spread training does where only a GPU would show it."""

from functools import partial

import pytest
import torch
from tests.training.small import Line, distance

from fieldforge.nn.convolution import PixelLinear
from fieldforge.nn.transformer import TokenNorm
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.processes.strategies import Sharded, block_precision, skeleton_of, where_there_is_room

GPU = torch.device("cuda", 0)


def line() -> AutoencoderModule:
    return AutoencoderModule(Line(), distance, partial(torch.optim.AdamW, lr=0.1), seed=0)


def test_whole_module_lies_where_its_device_says():
    module, strategy = line(), Sharded()
    module.register_buffer("beside", torch.zeros(3), persistent=False)
    strategy._skeleton = skeleton_of(module)
    strategy._skeleton._device = GPU  # as of a module that trains on a GPU
    whole = strategy.whole_module(module.state_dict())
    assert {tensor.device for tensor in (*whole.parameters(), *whole.buffers())} == {whole.device}
    assert whole.device == torch.device("cpu")


@pytest.mark.parametrize(("free", "moves"), [(95, False), (97, True)])
def test_pictures_are_drawn_on_a_gpu_that_has_room(free, moves, monkeypatch):
    module, moved = line(), []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    monkeypatch.setattr(module, "to", lambda device: moved.append(device) or module)
    assert where_there_is_room(module, GPU) is module  # 12 numbers of 4 bytes, twice
    assert moved == [GPU] * moves


@pytest.mark.parametrize(
    ("precision", "gathered", "added"),
    [("32-true", None, None), ("bf16-mixed", torch.bfloat16, torch.float32), ("bf16-true", None, torch.float32)],
)
def test_blocks_are_gathered_as_autocast_uses_them(precision, gathered, added):
    policy = block_precision(precision)
    assert (policy.param_dtype, policy.reduce_dtype) == (gathered, added)
    assert not policy.cast_forward_inputs  # coordinates and noise levels stay exact


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_takes_weights_that_are_rounder_than_its_input(dtype):
    x, norm = torch.randn(2, 5, 8), TokenNorm(8)
    torch.testing.assert_close(norm.to(dtype)(x), torch.nn.LayerNorm(8)(x))
    assert norm(x).dtype == torch.float32


def test_linear_map_of_pixels_is_a_convolution_whose_gradient_lies_as_its_weight():
    layer, x = PixelLinear(6, 4), torch.randn(2, 6, 5, 5).to(memory_format=torch.channels_last)
    result = layer(x)
    torch.testing.assert_close(result, torch.nn.functional.conv2d(x, layer.weight, layer.bias))
    result.square().sum().backward()
    assert layer.weight.grad.stride() == layer.weight.stride()
