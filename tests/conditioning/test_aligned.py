"""A condition that has the latent's grid: composed, lost, noised, and read by every backbone."""

import math

import numpy as np
import pytest
import torch
from tests.diffusion.test_backbones import BACKBONES, B, C, D, T, arguments, shaken

from fieldforge.conditioning.aligned import AlignedSource, noised
from fieldforge.conditioning.class_label import ClassSource
from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.guidance.several import Several
from fieldforge.errors import UserError
from fieldforge.noise.randomness import StepRandomness

A = 3
ARRAYS = [np.full((T, A), value, np.float32) for value in (0.5, -0.5)]


def source(**more) -> AlignedSource:
    torch.manual_seed(0)
    return AlignedSource(D, A, **more)


def step(slots, batch=4096):
    return StepRandomness(0, 3, slots, batch)


def test_arrays_come_out_as_they_are_and_lost_ones_as_zeros():
    conditioner = Conditioner({"coarse": source(), "class": ClassSource(["a", "b"], D)})
    features = conditioner.embed({"coarse": ARRAYS, "class": ["a", "b"]})
    condition = conditioner(features, {"coarse": torch.tensor([False, True])})
    assert conditioner.aligned_channels == A
    assert torch.equal(condition.aligned[0], torch.from_numpy(ARRAYS[0]))
    assert not condition.aligned[1].any()
    without = conditioner({"class": features["class"]})
    assert not without.aligned.any()
    torch.testing.assert_close(condition.vector[1], without.vector[1])


def test_two_sources_stand_beside_each_other_and_each_by_itself():
    conditioner = Conditioner({"coarse": source(), "fine": source(key="fine")})
    features = conditioner.embed({"coarse": ARRAYS, "fine": [2 * array for array in ARRAYS]})
    assert conditioner(features).aligned[0, 0].tolist() == [0.5] * A + [1.0] * A
    alone = conditioner.separately(features)
    assert alone.aligned.shape == (4, T, 2 * A)
    assert alone.aligned[:, 0, [0, -1]].tolist() == [[0.5, 0], [-0.5, 0], [0, 1], [0, -1]]
    null = conditioner.null(2)
    Several([1.0, 1.0])(lambda x_t, t, condition: x_t, alone, null)(torch.zeros(2, T, C), torch.zeros(2))


def test_conditions_are_mixed_and_stacked_place_by_place():
    start, end = Condition(aligned=torch.zeros(2, T, A)), Condition(aligned=torch.ones(2, 1, A))
    way = start.lerp(end, torch.tensor([0.25, 1.0])).aligned
    assert way.shape == (2, T, A)
    assert way[:, 0, 0].tolist() == [0.25, 1.0]
    assert Condition.cat([start, end]).aligned.shape == (4, T, A)
    assert start.batch_size == 2
    assert start.repeat(3).rows(slice(0, 4)).padded(7).aligned.shape == (4, T, A)


def test_training_noises_each_sample_by_a_strength_that_it_is_told():
    wide = source(noise=0.6)
    clean = Features(torch.zeros(2000, 1), aligned=torch.full((2000, T, A), 0.5))
    seen = wide.augmented(clean, step(range(2000)))
    strength = seen.vector[:, 0]
    assert 0 <= strength.min() < 0.01 < 0.59 < strength.max() <= 0.6
    angle = strength[:, None, None] * math.pi / 2
    noise = (seen.aligned - angle.cos() * 0.5) / angle.sin()
    assert abs(noise[strength > 0.05].std() - 1) < 0.02
    assert abs(noise[strength > 0.05].mean()) < 0.02
    one = wide.augmented(clean.rows(slice(7, 8)), step([7]))  # whichever process holds the sample
    torch.testing.assert_close(one.aligned, seen.aligned[7:8])
    condition = wide(seen)
    assert not torch.allclose(condition.vector[0], condition.vector[1])


def test_without_noise_in_training_features_stay():
    features = source().embed(ARRAYS, torch.device("cpu"))
    assert torch.equal(source(noise=0.0).augmented(features, step([0, 1])).aligned, features.aligned)
    full = noised(features, torch.ones(2), torch.zeros(2, T, A))
    assert full.aligned.abs().max() < 1e-6


@pytest.mark.parametrize("build", BACKBONES.values(), ids=BACKBONES.keys())
def test_backbones_read_each_token_s_own_numbers(build):
    backbone = shaken(build(aligned_channels=A))
    x, level, vector, context = arguments()
    aligned = torch.randn(B, T, A, dtype=torch.float64)
    out = backbone(x, level, Condition(vector, context, aligned=aligned))
    for other in (aligned + 0.1, aligned.roll(1, dims=1), None):
        change = out - backbone(x, level, Condition(vector, context, aligned=other))
        assert change.abs().amax(dim=(1, 2)).min() > 1e-4
    nothing = Condition(vector, context, aligned=torch.zeros(B, 1, A, dtype=torch.float64))
    torch.testing.assert_close(backbone(x, level, nothing), backbone(x, level, Condition(vector, context)))


def test_another_number_of_places_is_a_sentence():
    backbone = BACKBONES["DiT"](aligned_channels=A)
    x, level, *_ = (value.float() for value in arguments())
    with pytest.raises(UserError, match=f"numbers at 3 places and the latent {T} tokens"):
        backbone(x, level, Condition(aligned=torch.zeros(B, 3, A)))
