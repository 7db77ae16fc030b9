"""Which keys a sentence offers for one that is not there."""

from omegaconf import OmegaConf

from fieldforge.runs.near_keys import near_keys

BLOCK = OmegaConf.create({"training": {"optimizer": {"lr": 1e-3}, "budget": {"max_steps": 1}}, "seed": 0, "name": "x"})


def test_a_key_that_lies_deeper_is_offered_with_its_path():
    assert near_keys(BLOCK, "lr") == ["training.optimizer.lr"]


def test_a_key_may_be_written_with_the_name_of_its_block():
    block = OmegaConf.create({"views": {"count": 24, "size": 128}, "size": 64})
    assert near_keys(block, "view_size") == ["views.size"]


def test_else_the_one_spelled_most_alike_beside_it():
    assert near_keys(BLOCK, "sead") == ["seed"]
    assert near_keys(BLOCK, "zzzzzz") == []


def test_what_is_no_block_has_no_keys():
    assert near_keys("text", "lr") == []
