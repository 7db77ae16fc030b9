import pytest
import torch

from fieldforge.conditioning import Condition, Features


def condition(rows: int, length: int, width: int = 4, start: float = 0.0) -> Condition:
    vector = start + torch.arange(rows * width, dtype=torch.float32).view(rows, width)
    tokens = start + torch.arange(rows * length * width, dtype=torch.float32).view(rows, length, width)
    return Condition(vector, tokens)


def test_tokens_without_a_mask_are_all_real():
    assert condition(2, 3).mask.all()
    assert condition(2, 3).mask.shape == (2, 3)


@pytest.mark.parametrize(
    "parts",
    [
        {"vector": torch.zeros(2, 3, 4)},
        {"tokens": torch.zeros(2, 4)},
        {"mask": torch.ones(2, 3, dtype=torch.bool)},
        {"tokens": torch.zeros(2, 3, 4), "mask": torch.ones(2, 3)},
        {"tokens": torch.zeros(2, 3, 4), "mask": torch.ones(2, 2, dtype=torch.bool)},
        {"vector": torch.zeros(3, 4), "tokens": torch.zeros(2, 3, 4)},
        {"vector": torch.zeros(2, 5), "tokens": torch.zeros(2, 3, 4)},
    ],
)
def test_parts_that_do_not_fit_are_refused(parts):
    with pytest.raises(AssertionError):
        Condition(**parts)


def test_features_may_be_of_two_widths():
    assert Features(torch.zeros(2, 5), torch.zeros(2, 3, 4)).batch_size == 2


def test_nothing_steers():
    assert Condition().batch_size is None
    assert Condition().width is None
    assert Condition.cat([Condition(), Condition()]) == Condition()


def test_cat_pads_the_shorter_tokens_and_masks_the_padding():
    short, long = condition(1, 2), condition(2, 5, start=100)
    joined = Condition.cat([short, long])
    assert joined.vector.shape == (3, 4)
    assert joined.mask.tolist() == [[True, True, False, False, False], [True] * 5, [True] * 5]
    assert torch.equal(joined.tokens[:1, :2], short.tokens)
    assert torch.equal(joined.tokens[1:], long.tokens)


def test_cat_refuses_parts_of_different_kind():
    with pytest.raises(AssertionError, match="some parts have"):
        Condition.cat([Condition(vector=torch.zeros(1, 4)), condition(1, 2)])


def test_where_takes_the_null_for_dropped_rows_alone():
    conditional, null = condition(3, 4), condition(3, 1, start=-50)
    chosen = conditional.where(torch.tensor([False, True, False]), null)
    assert torch.equal(chosen.vector[[0, 2]], conditional.vector[[0, 2]])
    assert torch.equal(chosen.tokens[[0, 2]], conditional.tokens[[0, 2]])
    assert torch.equal(chosen.vector[1], null.vector[1])
    assert torch.equal(chosen.tokens[1, 0], null.tokens[1, 0])
    assert chosen.mask.tolist() == [[True] * 4, [True, False, False, False], [True] * 4]


def test_rows_and_repeat():
    conditional = condition(3, 2)
    assert torch.equal(conditional.rows(torch.tensor([2, 0])).vector, conditional.vector[[2, 0]])
    assert torch.equal(conditional.repeat(2).tokens, conditional.tokens[[0, 0, 1, 1, 2, 2]])
    assert isinstance(conditional.rows(slice(1)), Condition)


def test_a_dtype_does_not_reach_the_mask():
    moved = condition(2, 2).to(torch.float16)
    assert (moved.vector.dtype, moved.tokens.dtype, moved.mask.dtype) == (torch.float16, torch.float16, torch.bool)


def test_lerp_ends_at_both_conditions_and_is_halfway_in_between():
    first, second = condition(2, 2), condition(2, 4, start=10)
    assert torch.equal(first.lerp(second, 1.0).tokens, second.tokens)
    start = first.lerp(second, 0.0)
    assert torch.equal(start.vector, first.vector)
    assert torch.equal(start.tokens[start.mask].view(2, 2, 4), first.tokens)
    middle = first.lerp(second, 0.5)
    assert torch.equal(middle.vector, (first.vector + second.vector) / 2)
    assert middle.mask.all()
    assert torch.equal(middle.tokens[:, :2], (first.tokens + second.tokens[:, :2]) / 2)
