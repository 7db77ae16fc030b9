import math

import pytest
import torch

from fieldforge.nn.attention import Attention


def by_hand(module, x, context=None, mask=None):
    """The same from the definition, head by head."""
    width, heads = x.shape[-1], module.heads
    if context is None:
        q, k, v = module.to_qkv(x).split(width, dim=-1)
    else:
        q = module.to_q(x)
        k, v = module.to_kv(context).split(width, dim=-1)
    size = width // heads
    outputs = []
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        logits = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(size)
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, :], -1e9)
        outputs.append(logits.softmax(-1) @ v[..., part])
    return module.to_out(torch.cat(outputs, dim=-1))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_self_attention_is_the_definition():
    module, x = Attention(16, 4).double(), torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(module(x), by_hand(module, x))


def test_cross_attention_with_mask_is_the_definition():
    module = Attention(16, 2, context_width=6).double()
    x, context = torch.randn(2, 5, 16, dtype=torch.float64), torch.randn(2, 7, 6, dtype=torch.float64)
    mask = torch.tensor([[True] * 3 + [False] * 4, [False] * 6 + [True]])
    torch.testing.assert_close(module(x, context, mask), by_hand(module, x, context, mask))


def test_hidden_tokens_have_no_influence():
    module, x, context = Attention(16, 2, context_width=6), torch.randn(1, 5, 16), torch.randn(1, 7, 6)
    mask = torch.arange(7)[None] < 4
    changed = context.clone()
    changed[:, 4:] = 1e3
    torch.testing.assert_close(module(x, context, mask), module(x, changed, mask))
    torch.testing.assert_close(module(x, context, mask), module(x, context[:, :4]))


def test_nothing_to_see_gives_the_bias_alone_and_finite_gradients():
    module = Attention(16, 2, context_width=6)
    x = torch.randn(2, 5, 16, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    out = module(x, torch.randn(2, 3, 6), mask)
    torch.testing.assert_close(out[0], module.to_out.bias.expand(5, 16))
    out.sum().backward()
    assert x.grad.isfinite().all()


def test_qk_norm_bounds_the_logits():
    """However large the tokens are, normalised queries and keys leave the attention as it was."""
    module, x = Attention(16, 2, qk_norm=True).double(), torch.randn(1, 5, 16, dtype=torch.float64)
    module.to_qkv.bias.data.zero_()
    torch.testing.assert_close(
        module(100 * x) - module.to_out.bias, 100 * (module(x) - module.to_out.bias), rtol=1e-4, atol=1e-6
    )


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of heads"):
        Attention(10, 3)


@pytest.mark.parametrize("masked", [False, True])
def test_training_in_bfloat16_computes_the_same(masked):
    """The plain path that a CPU takes there, against float32 and with its gradients."""
    module, x = Attention(16, 2), torch.randn(2, 9, 16)
    mask = torch.arange(9)[None] < torch.tensor([[9], [4]]) if masked else None
    results = []
    for enabled in (False, True):
        module.zero_grad()
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = module(leaf, mask=mask).float()
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad, module.to_qkv.weight.grad.clone()))
    for exact, close in zip(*results, strict=True):
        assert (exact - close).norm() < 0.02 * exact.norm()
