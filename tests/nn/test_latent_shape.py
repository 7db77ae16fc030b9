import copy
import pickle

import pytest

from fieldforge.nn.latent_shape import LatentShape


def test_grid_must_hold_the_tokens():
    assert LatentShape(12, 3, [3, 4]).grid == (3, 4)
    assert LatentShape(12, 3).grid is None
    for grid in ([3, 5], [], (11,)):
        with pytest.raises(ValueError, match="does not hold 12 tokens"):
            LatentShape(12, 3, grid)


def test_copies_are_equal():
    shape = LatentShape(12, 3, (3, 4))
    for other in (copy.deepcopy(shape), pickle.loads(pickle.dumps(shape)), LatentShape(*shape)):
        assert other == shape
        assert isinstance(other, LatentShape)
