"""A field that points read by attention: against softmax written out, and what the number and order of tokens mean."""

import pytest
import torch

from fieldforge.fields.attention_field import AttentionField
from fieldforge.nn.embeddings import positional_encoding


def build(**settings: int) -> AttentionField:
    torch.manual_seed(0)
    return AttentionField(**{"tokens": 6, "width": 8, "attention_heads": 2, "degrees": 2, **settings})


def points(count: int = 5, samples: int = 2) -> torch.Tensor:
    return torch.rand(samples, count, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


def tokens(count: int = 6, samples: int = 2) -> torch.Tensor:
    return torch.randn(samples, count, 8, generator=torch.Generator().manual_seed(2))


def normed(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    centred = x - x.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def written_out(field: AttentionField, point: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Point (3,), tokens (T, 8) → the four numbers of the head."""
    x = field.embed(positional_encoding(point, 2))
    query = field.read.to_q(normed(x, field.norm_points))
    key, value = field.read.to_kv(torch.stack([normed(token, field.norm_tokens) for token in keys])).chunk(2, dim=1)
    parts = []
    for channels in (slice(0, 4), slice(4, 8)):  # two heads of 4
        weights = torch.exp(key[:, channels] @ query[channels] / 4**0.5)
        parts.append(weights / weights.sum() @ value[:, channels])
    x = x + field.read.to_out(torch.cat(parts))
    x = x + field.feed[1](normed(x, field.feed[0]))
    return field.head[1](normed(x, field.head[0]))


@torch.no_grad()
def test_a_query_is_softmax_attention_written_out() -> None:
    field = build()
    values = field.query(points(), {"tokens": tokens()})
    for row in range(2):
        for place in range(5):
            expected = written_out(field, points()[row, place], tokens()[row])
            torch.testing.assert_close(values["sdf"][row, place], expected[0])
            torch.testing.assert_close(values["rgb"][row, place], expected[1:].sigmoid())
    torch.testing.assert_close(values["density"], field.density(values["sdf"]))


@pytest.mark.parametrize("count", [1, 6, 11])
@torch.no_grad()
def test_the_order_of_tokens_means_nothing_and_there_may_be_any_number(count: int) -> None:
    field, order = build(), torch.randperm(count, generator=torch.Generator().manual_seed(0))
    values = field.query(points(), {"tokens": tokens(count)})
    turned = field.query(points(), {"tokens": tokens(count)[:, order]})
    for name in field.heads:
        torch.testing.assert_close(turned[name], values[name])


@torch.no_grad()
def test_samples_and_points_do_not_touch_each_other() -> None:
    field = build()
    values = field.query(points(), {"tokens": tokens()})
    alone = field.query(points()[1:, 2:3], {"tokens": tokens()[1:]})
    for name in field.heads:
        torch.testing.assert_close(alone[name], values[name][1:, 2:3])


def test_points_in_parts_have_the_same_values_and_gradients() -> None:
    results = []
    for points_at_once in (2**17, 4):
        field, latents = build(points_at_once=points_at_once), tokens().requires_grad_()
        values = field.query(points(), {"tokens": latents})
        (values["sdf"].square().sum() + values["rgb"].square().sum()).backward()
        results.append([*(values[name].detach() for name in field.heads), latents.grad, field.embed.weight.grad])
    for whole, parted in zip(*results, strict=True):
        torch.testing.assert_close(parted, whole)


def test_tokens_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'tokens' must be \(B, 6, 8\), got \(2, 6, 9\)"):
        build().query(points(), {"tokens": torch.zeros(2, 6, 9)})


@torch.no_grad()
def test_everything_is_outside_before_anything_is_learned() -> None:
    field = build(initial_distance=1.0)
    assert (field.query(points(100), {"tokens": torch.zeros(2, 6, 8)})["sdf"] > 0).float().mean() > 0.8
