"""Numbers as a condition, of a clip or of each of its frames."""

import numpy as np
import torch

from fieldforge.conditioning import ClassSource, Conditioner, NumbersSource
from fieldforge.conditioning.condition import Condition

D, V = 8, 5


def source(**more) -> NumbersSource:
    torch.manual_seed(0)
    return NumbersSource(D, "angles", 2, waves=8, **more)


def test_each_frame_has_a_vector_of_its_own_numbers():
    conditioner = Conditioner({"angles": source(each_frame=True), "class": ClassSource(["a"], D)})
    values = [np.outer(np.arange(V), [number, number]) / V for number in (1, 2)]
    features = conditioner.embed({"angles": values, "class": ["a", "a"]})
    condition = conditioner(features)
    assert condition.frames.shape == (2, V, D)
    assert condition.vector.shape == (2, D)
    torch.testing.assert_close(condition.frames[0, 0], condition.frames[1, 0])  # both are (0, 0)
    assert (condition.frames[0, -1] - condition.frames[1, -1]).abs().max() > 1e-3


def test_a_lost_sample_has_the_null_in_every_frame():
    conditioner = Conditioner({"angles": source(each_frame=True)})
    features = conditioner.embed({"angles": torch.rand(2, V, 2)})
    condition = conditioner(features, {"angles": torch.tensor([True, False])})
    null = conditioner.null(1)
    assert null.frames.shape == (1, 1, D)
    torch.testing.assert_close(condition.frames[0], null.frames[0].expand(V, -1))
    both = Condition.cat([condition, null])  # of guidance
    torch.testing.assert_close(both.frames[2], null.frames[0].expand(V, -1))


def test_numbers_of_a_clip_are_one_vector():
    conditioner = Conditioner({"motion": NumbersSource(D, "motion", 2)})
    condition = conditioner(conditioner.embed({"motion": torch.tensor([[0.2, 0.1], [0.2, 0.5]])}))
    assert condition.frames is None
    assert (condition.vector[0] - condition.vector[1]).abs().max() > 1e-3


def test_frames_are_mixed_between_two_conditions():
    start, end = (Condition(frames=torch.full((2, V, D), value)) for value in (0.0, 1.0))
    assert (start.lerp(end, torch.tensor([0.25, 0.5])).frames[:, 0, 0] == torch.tensor([0.25, 0.5])).all()
