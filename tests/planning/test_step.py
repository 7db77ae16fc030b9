"""What a step costs, against sums on paper."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from fieldforge.nn.attention import Attention
from fieldforge.nn.ema import PlainDecay
from fieldforge.nn.transformer import Transformer
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.kernels import Kernels
from fieldforge.planning.live_memory import LiveMemory
from fieldforge.planning.step import measure_step
from fieldforge.planning.step_cost import StepCost, memory_ddp, memory_fsdp

B, N, W, HEADS = 2, 64, 32, 4


class Module(pl.LightningModule):
    """Mean of a network's output."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def training_step(self, batch, batch_idx):
        return self.network(batch["x"]).float().mean()

    def validation_step(self, batch, batch_idx):
        self.log("loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), fused=True)


def cost_of(make, *shape: int, **options) -> StepCost:
    batch = lambda: {"x": torch.rand(*shape)}  # noqa: E731
    return measure_step(
        lambda: Module(make()), batch, batch, PlainDecay(), **{"bfloat16": False, "gpu": False, **options}
    )


def test_operations_and_held_memory_of_two_linear_maps():
    cost = cost_of(lambda: nn.Sequential(nn.Linear(30, 50), nn.Linear(50, 20)), 8, 30)
    first, second = 2 * 8 * 30 * 50, 2 * 8 * 50 * 20
    assert cost.operations == 2 * first + 3 * second  # the input needs no gradient
    weights = 30 * 50 + 50 + 50 * 20 + 20
    assert cost.trained == weights
    assert cost.parts == {"network.0": 1550, "network.1": 1020}
    assert (cost.parameters, cost.gradients, cost.average) == (4 * weights,) * 3
    assert cost.optimizer == 8 * weights + 4 * 4  # two moments, and the count of steps of each of four tensors


def test_kernels_are_what_touches_numbers():
    with without_values():
        a, b = torch.rand(8, 30), torch.rand(30, 50)
        with Kernels() as kernels:
            product = a @ b
            torch.empty(100)
            product.t()[:5]
            product += 1
    sizes = [4 * (8 * 30 + 30 * 50 + 8 * 50), 4 * (2 * 8 * 50)]  # read and written
    assert kernels.rows.tolist() == [[2 * 8 * 30 * 50, sizes[0], 1, 8, 50, 0], [0, sizes[1], 0, 0, 0, 0]]


def test_a_convolution_is_a_product_forward_and_two_backward():
    with without_values():
        x = torch.rand(2, 3, 8, 8, requires_grad=True)
        with Kernels() as kernels:
            nn.functional.conv2d(x, torch.rand(6, 3, 3, 3, requires_grad=True), padding=1).sum().backward()
    products = kernels.rows[kernels.rows[:, 2] > 0]
    assert products[:, 2:].tolist() == [[1, 2 * 64, 6, 1], [1, 2 * 64, 3, 1], [1, 6, 3 * 9, 1]]
    assert products[:, 0].tolist() == [2 * 2 * 64 * 6 * 27] * 3


def test_attention_has_a_product_for_each_head():
    cost = cost_of(lambda: Attention(W, HEADS), B, N, W, gpu=True)
    products = cost.kernels[:, 2:].tolist()
    assert products.count([B * HEADS, N, W // HEADS, 0]) == 2  # forward and backward


def test_the_backward_pass_is_a_part_of_the_step():
    cost = cost_of(lambda: nn.Sequential(nn.Linear(30, 50), nn.Linear(50, 20)), 8, 30)
    first, second = 2 * 8 * 30 * 50, 2 * 8 * 50 * 20
    assert cost.kernels[cost.backward, 0].sum() == first + 2 * second
    assert cost.heldout[:, 0].sum() == first + second
    assert cost.swap[:, 0].sum() == 0
    assert cost.swap[:, 1].sum() == 6 * cost.parameters  # a copy aside, the average in, the copy back: read, written
    assert cost.checkpoint == cost.parameters + cost.average + cost.optimizer


def test_a_small_batch_moves_weights_rather_than_computes():
    one, many = (cost_of(lambda: nn.Linear(256, 256), count, 256).kernels for count in (1, 256))
    assert many[:, 0].sum() == 256 * one[:, 0].sum()
    assert many[:, 1].sum() < 3 * one[:, 1].sum()


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_fused_attention_is_counted(gpu, bfloat16):
    cost = cost_of(lambda: Attention(W, HEADS), B, N, W, gpu=gpu, bfloat16=bfloat16)
    maps = 2 * B * N * W * (3 * W), 2 * B * N * W * W  # into queries, keys, values; out
    logits = 2 * B * N * N * W  # q kᵀ, and as much for the product with the values
    recomputed = logits if gpu or not bfloat16 else 0  # fused kernels do not keep the logits
    assert cost.operations == 2 * maps[0] + 3 * maps[1] + 2 * logits + 4 * logits + recomputed


def test_fused_attention_keeps_no_logits():
    wide = 16 * N
    plain, fused = (
        cost_of(lambda: Attention(W, HEADS), B, wide, W, gpu=gpu, bfloat16=True).activations for gpu in (False, True)
    )
    assert plain > 2 * B * HEADS * wide * wide > fused


def test_recomputed_activations_grow_with_the_inputs_of_blocks_only():
    tokens = 4096  # so that weights and their gradients are small beside activations
    shallow, deep = (cost_of(lambda n=n: Transformer(W, HEADS, n), B, tokens, W) for n in (1, 4))
    inputs = 4 * B * tokens * W  # what is kept of each block
    assert deep.checkpointed - shallow.checkpointed == pytest.approx(3 * inputs, rel=0.3)
    assert deep.activations - shallow.activations > 3 * 10 * inputs
    assert (shallow.block, deep.block) == (shallow.parameters, deep.parameters // 4)


def test_live_memory_follows_storages_not_tensors():
    with without_values(), LiveMemory() as memory:
        a = torch.empty(1000)
        view = a[10:].view(-1)
        assert memory.live == 4000
        b = a + 1
        assert memory.live == 8000
        del a, b
        assert (memory.live, memory.peak) == (4000, 8000)
        del view
        assert memory.live == 0


def test_numbers_that_are_asked_for_are_zero():
    with without_values():
        assert float(torch.rand(3).mean()) == 0.0
        assert int(torch.arange(3).sum()) == 0


def test_modules_convert_without_values():
    with without_values():
        network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        assert network.weight.is_contiguous(memory_format=torch.channels_last)
    assert nn.Linear(2, 2).double().weight.dtype == torch.float64  # and outside all is as it was


def test_sharding_divides_what_is_held():
    cost = cost_of(lambda: Transformer(W, HEADS, 4), B, N, W)
    ddp, fsdp = memory_ddp(cost, 4), memory_fsdp(cost, 4)
    for name in ("parameters", "gradients", "optimiser", "moving average"):
        assert fsdp[name] == pytest.approx(ddp[name] / 4, rel=0.01)
    assert fsdp["exchange"] == 2 * 2 * cost.parameters // 4  # two blocks, weights and gradients
    assert sum(memory_fsdp(cost, 1).values()) >= sum(memory_ddp(cost, 1).values())
