"""Attention as plans count it: a kernel of GPUs, by its shapes alone."""

import torch

from fieldforge.nn import attention
from fieldforge.planning.fused_attention import as_on_gpu, cpu_formulas


def test_inside_attention_is_the_gpus_kernel_and_afterwards_the_usual_one():
    usual = attention.attend
    q = torch.zeros(2, 3, 5, 8, device="meta", requires_grad=True)
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool, device="meta")
    with as_on_gpu():
        assert attention.attend is not usual
        out = attention.attend(q, q, q, mask)
    assert out.shape == q.shape
    assert "Efficient" in type(out.grad_fn).__name__
    assert attention.attend is usual


def test_operations_of_a_forward_pass_are_two_products():
    forward, backward = cpu_formulas().values()
    shape = (2, 3, 5, 8)  # batch, heads, tokens, width
    products = 2 * 2 * 3 * 5 * 5 * 8  # of q kᵀ: a multiplication and an addition for each of N · N · c
    assert forward(shape, shape, shape) == 2 * products
    assert backward(shape, shape, shape, shape) == 5 * products  # q kᵀ again, and two products for each of its two
