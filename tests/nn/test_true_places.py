import math

import torch

from fieldforge.nn.true_places import SPREAD, fullest_batches, true_places
from fieldforge.planning.fake_modules import without_values


def test_places_of_a_mask_are_those_of_its_values():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    assert true_places(mask, share=0.01).tolist() == [0, 2, 5]


def test_a_mask_without_values_has_as_many_as_its_place_says():
    with without_values():
        mask = torch.ones(4, 100, dtype=torch.bool)
        assert true_places(mask, 0.3).shape == (120,)
        assert mask.nonzero().shape == (50, 2), "an eighth where nobody says"
        with fullest_batches(4):
            assert true_places(mask, 0.3).shape == (math.ceil(120 * (1 + SPREAD)),)
            assert true_places(mask, 0.9).shape == (400,), "never more than all"
        assert true_places(mask, 0.3).shape == (120,)
