"""diffusers' blocks of Stable Diffusion 3 are the independent implementation."""

import pytest
import torch
from diffusers.models.attention import JointTransformerBlock
from tests.nn.stable_diffusion import copy_block, with_our_constants
from torch import nn

from fieldforge.nn.joint_transformer import JointBlock, JointTransformer

B, N, L, WIDTH, HEADS = 2, 6, 5, 32, 4


def shaken(module, deviation=0.2):
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=deviation)
    return module


def inputs():
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(shape, generator=generator) for shape in ((B, N, WIDTH), (B, L, WIDTH), (B, WIDTH))
    )  # x, context, vector


def copied(ours: JointBlock, qk_norm: bool) -> JointTransformerBlock:
    """Their block with the weights of ours."""
    theirs = JointTransformerBlock(
        WIDTH, HEADS, WIDTH // HEADS, context_pre_only=ours.context.last, qk_norm="rms_norm" if qk_norm else None
    )
    copy_block(ours, theirs)
    return with_our_constants(theirs)


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_block_is_stable_diffusions(last, qk_norm):
    ours = shaken(JointBlock(WIDTH, HEADS, WIDTH, qk_norm, last=last))
    x, context, vector = inputs()
    with torch.no_grad():
        their_context, their_x = copied(ours, qk_norm)(x, context, vector)
        our_x, our_context = ours(x, context, vector)
    torch.testing.assert_close(our_x, their_x, rtol=1e-5, atol=1e-5)
    assert (our_x - x).abs().max() > 0.1
    if last:
        assert their_context is None
        assert torch.equal(our_context, context)
    else:
        torch.testing.assert_close(our_context, their_context, rtol=1e-5, atol=1e-5)


def test_stack_is_stable_diffusions():
    ours = shaken(JointTransformer(WIDTH, HEADS, 3, WIDTH), deviation=0.1)
    x, context, vector = inputs()
    with torch.no_grad():
        their_x, their_context = x, context
        for block in ours.blocks:
            their_context, their_x = copied(block, True)(their_x, their_context, vector)
        torch.testing.assert_close(ours(x, context, vector), their_x, rtol=1e-5, atol=1e-5)


def test_block_starts_as_the_identity():
    x, context, vector = inputs()
    after, context_after = JointBlock(WIDTH, HEADS, WIDTH)(x, context, vector)
    assert torch.equal(after, x)
    assert torch.equal(context_after, context)


def test_hidden_tokens_are_as_if_they_were_not_there():
    stack = shaken(JointTransformer(WIDTH, HEADS, 2, WIDTH)).double()
    x, context, vector = (value.double() for value in inputs())
    mask = torch.ones(B, N + L, dtype=torch.bool)
    mask[:, N + 3 :] = False
    torch.testing.assert_close(stack(x, context, vector, mask), stack(x, context[:, :3], vector))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_weight_of_both_streams_is_trained(checkpointing):
    stack = shaken(JointTransformer(WIDTH, HEADS, 2, WIDTH, checkpointing=checkpointing))
    stack(*inputs()).square().sum().backward()
    assert [name for name, p in stack.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width 30 is not a multiple of heads 4"):
        JointBlock(30, 4, 30)
