import pytest
import torch

from fieldforge.nn.transformer import Transformer, TransformerBlock


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_modulated_block_starts_as_the_identity():
    block = TransformerBlock(16, 2, vector_width=8, context_width=6, qk_norm=True)
    x = torch.randn(2, 5, 16)
    assert torch.equal(block(x, torch.randn(2, 8), torch.randn(2, 3, 6)), x)


def test_plain_block_is_the_two_residuals():
    block, x = TransformerBlock(16, 2), torch.randn(2, 5, 16)
    middle = x + block.attention(block.norm_attention(x))
    torch.testing.assert_close(block(x), middle + block.feed(block.norm_feed(middle)))


def test_tokens_are_a_set():
    """Without positions a transformer commutes with permutations of its tokens."""
    stack, x, order = Transformer(16, 2, 3).double(), torch.randn(1, 6, 16, dtype=torch.float64), torch.randperm(6)
    torch.testing.assert_close(stack(x)[:, order], stack(x[:, order]))


def test_recomputation_changes_no_gradient():
    arguments = dict(width=16, heads=2, layers=2, vector_width=8, context_width=6)
    kept, recomputed = Transformer(**arguments), Transformer(**arguments, checkpointing=True)
    for parameter in kept.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    recomputed.load_state_dict(kept.state_dict())
    x, vector, context = torch.randn(2, 5, 16), torch.randn(2, 8), torch.randn(2, 3, 6)
    for stack in (kept, recomputed):
        stack(x, vector, context).square().sum().backward()
    for (name, a), b in zip(kept.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_every_parameter_is_trained():
    stack = Transformer(16, 2, 2, vector_width=8, context_width=6, qk_norm=True)
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    stack(torch.randn(2, 5, 16), torch.randn(2, 8), torch.randn(2, 3, 6)).square().sum().backward()
    assert [name for name, p in stack.named_parameters() if p.grad is None or not p.grad.any()] == []
