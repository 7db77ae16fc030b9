"""Which stored views stand for an asset."""

import math

import numpy as np

from fieldforge.domains.shape_truth import TrueViews
from fieldforge.geometry.camera import fibonacci_poses
from fieldforge.rendering.shading import Stand


def test_first_view_is_the_one_nearest_to_the_portrait_and_none_comes_twice():
    cameras = fibonacci_poses(20, 4.0).numpy()
    chosen = TrueViews(5).choose(cameras)
    assert len(set(chosen)) == 5
    x, y, z = cameras[chosen[0], :3, 3] / 4.0
    assert abs(math.atan2(x, z) - Stand().azimuth) < math.radians(30)
    assert abs(math.asin(y) - Stand().elevation) < math.radians(30)


def test_fewer_views_than_wanted_are_all_taken():
    cameras = fibonacci_poses(3, 4.0).numpy()
    assert sorted(TrueViews(9).choose(cameras)) == [0, 1, 2]
    assert len(TrueViews(1).choose(np.asarray(cameras))) == 1
