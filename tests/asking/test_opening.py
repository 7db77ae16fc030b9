"""Clips longer than the model's: windows that share frames."""

from types import SimpleNamespace

import pytest
import torch

from fieldforge.asking.opening import Opening, check_wishes
from fieldforge.errors import UserError

V, PLACES = 8, 2


def opening(frames: int | None) -> Opening:
    autoencoder = SimpleNamespace(latent_shape=SimpleNamespace(grid=(V, 1, PLACES)))
    return Opening(None, autoencoder, {}, frames)  # type: ignore[arg-type]


@pytest.mark.parametrize(("frames", "windows"), [(None, 1), (5, 1), (8, 1), (9, 2), (14, 2), (15, 3)])
def test_windows_continue_where_the_one_before_ended(frames: int | None, windows: int):
    first = torch.arange(V).repeat_interleave(PLACES)[None, :, None].float()
    calls = []

    def draw(number: int, known: torch.Tensor, anew: torch.Tensor) -> torch.Tensor:
        """Counts on from the known frames."""
        calls.append(number)
        assert anew.tolist() == [False] * 4 + [True] * 12  # two of eight frames are shared
        return known[:, :1] + torch.arange(V).repeat_interleave(PLACES)[None, :, None]

    one = opening(frames)
    made = one.lengthened(first, draw)
    wanted = V if frames is None else frames
    assert made[0, ::PLACES, 0].tolist() == list(range(wanted))
    assert (one.windows, calls) == (windows, list(range(1, windows)))
    assert torch.equal(one.first_of(first), first[:, :PLACES])


def test_wishes_without_effect_are_named():
    check_wishes({"elevation": 10.0}, 40, {"first_frame", "angles"}, "clip")
    with pytest.raises(UserError, match="fps=8 has no effect"):
        check_wishes({"fps": 8.0}, None, {"first_frame", "angles"}, "clip")
    with pytest.raises(UserError, match="frames= is given, but no end"):
        check_wishes({}, 5, {"caption"}, "shape")
