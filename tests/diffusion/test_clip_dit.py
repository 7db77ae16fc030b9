"""The backbone of clips: that of pictures on every frame at first, then one that looks over time."""

import pytest
import torch
from tests.diffusion.test_backbones import shaken

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.clip_dit import ClipDiT
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.errors import UserError

B, V, PLACES, C, A, D = 2, 5, 4, 3, 2, 8
SIZES = dict(channels=C, width=16, layers=2, heads=2, condition_width=D, group=2, condition_rank=2)


def of_clips(**more) -> ClipDiT:
    return ClipDiT(tokens=V * PLACES, grid=(V, 2, 2), **SIZES, **more)


def of_pictures(**more) -> DiT:
    return shaken(DiT(tokens=PLACES, grid=(2, 2), **SIZES, **more))


def arguments() -> tuple[torch.Tensor, torch.Tensor, Condition]:
    generator = torch.Generator().manual_seed(1)
    x, vector, frames, aligned = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((B, V * PLACES, C), (B, D), (B, V, D), (B, PLACES, A))
    )
    return x, torch.tensor([-0.5, 1.0], dtype=torch.float64), Condition(vector, aligned=aligned, frames=frames)


def started(pictures: DiT, **more) -> ClipDiT:
    clips = of_clips(**more).double().eval()
    clips.load_state_dict(clips.initial_weights(pictures.state_dict()))
    return clips


def test_it_starts_as_the_model_of_pictures_on_every_frame():
    pictures = of_pictures(aligned_channels=A)
    x, level, condition = arguments()
    made = started(pictures, aligned_channels=A)(x, level, condition).unflatten(1, (V, PLACES))
    for frame in range(V):
        own = Condition(condition.vector + condition.frames[:, frame], aligned=condition.aligned)
        alone = pictures(x.unflatten(1, (V, PLACES))[:, frame], level, own)
        torch.testing.assert_close(made[:, frame], alone)


def test_numbers_that_the_model_of_pictures_did_not_read_start_without_effect():
    pictures = of_pictures()
    x, level, condition = arguments()
    clips = started(pictures, aligned_channels=A)
    plain = Condition(condition.vector, frames=condition.frames)
    torch.testing.assert_close(clips(x, level, condition), clips(x, level, plain))
    alone = pictures(x[:, :PLACES], level, Condition(condition.vector + condition.frames[:, 0]))
    torch.testing.assert_close(clips(x, level, plain)[:, :PLACES], alone)


def test_own_weights_are_taken_as_they_are():
    clips = shaken(of_clips(aligned_channels=A))
    taken = clips.initial_weights(clips.state_dict())
    assert taken.keys() == clips.state_dict().keys()
    assert all(torch.equal(taken[name], value) for name, value in clips.state_dict().items())


def test_without_time_frames_do_not_see_each_other_and_with_it_all_of_them():
    x, level, condition = arguments()
    other = x.clone()
    other[:, :PLACES] += 1  # the first frame
    for temporal, seen in ((False, [True] + [False] * 4), (True, [True] * 5)):
        backbone = shaken(of_clips(temporal=temporal, aligned_channels=A))
        change = (backbone(x, level, condition) - backbone(other, level, condition)).abs()
        assert (change.unflatten(1, (V, PLACES)).amax((0, 2, 3)) > 1e-9).tolist() == seen


def test_order_counts_and_any_number_of_frames_goes_through():
    backbone = shaken(of_clips(aligned_channels=A))
    x, level, condition = arguments()
    bare = Condition(condition.vector, aligned=condition.aligned)
    made = backbone(x, level, bare)
    turned = backbone(x.roll(PLACES, 1), level, bare).roll(-PLACES, 1)
    assert (made - turned).abs().max() > 1e-6
    assert backbone(x[:, : 3 * PLACES], level, bare).shape == (B, 3 * PLACES, C)
    own = Condition(condition.vector, aligned=condition.aligned.repeat(1, V, 1))  # numbers at every token of the clip
    torch.testing.assert_close(backbone(x, level, own), made)


def test_everything_that_comes_in_counts():
    backbone = shaken(of_clips(aligned_channels=A, cross_attention=True))
    x, level, known = arguments()
    tokens = torch.ones(B, 3, D, dtype=torch.float64)
    whole = dict(vector=known.vector, aligned=known.aligned, frames=known.frames, tokens=tokens)
    made = backbone(x, level, Condition(**whole))
    for name, value in whole.items():
        changed = backbone(x, level, Condition(**{**whole, name: value * 1.5 + 0.1}))
        assert (made - changed).abs().amax((1, 2)).min() > 1e-6, name


def test_latents_without_frames_are_refused():
    with pytest.raises(UserError, match="backbone=clip reads latents of clips"):
        ClipDiT(tokens=16, grid=(4, 4), **SIZES)
