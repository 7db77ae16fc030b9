"""A picture that a clip begins with, and clips longer than the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError

SHARED = 4
"""A longer clip's windows overlap in the fourth part of their frames."""
WINDOW_SEEDS = 2**42  # added to a sample's seed for each further window


@dataclass(frozen=True)
class Opening:
    """First pictures as values of the sources that else read what comes with latents.

    Args:
        domain: knows what these are.
        autoencoder: encodes the pictures.
        wishes: options of the command that were given: elevation, fps, motion.
        frames: of the clips; None: the model's.
    """

    domain: Domain
    autoencoder: Autoencoder
    wishes: Mapping[str, float]
    frames: int | None

    def values(self, pictures: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Key → values of B pictures, uint8 (H, W, 4)."""
        each = [self.domain.opening(self.autoencoder, pixels, self.wishes) for pixels in pictures]
        return {key: torch.stack([one[key] for one in each]) for key in each[0]}

    @property
    def windows(self) -> int:
        """How many windows one clip takes."""
        usual = self._usual
        count = usual if self.frames is None else self.frames
        return 1 + max(0, -(-(count - usual) // (usual - self._shared)))

    @property
    def _usual(self) -> int:
        grid = self.autoencoder.latent_shape.grid
        assert grid is not None, "latents of clips have a grid"
        return grid[0]

    @property
    def _shared(self) -> int:
        return max(1, self._usual // SHARED)

    def first_of(self, latents: Tensor) -> Tensor:
        """The first frame (B, n, C) of latents (B, V · n, C) of the model's frames."""
        return latents[:, : latents.shape[1] // self._usual]

    def lengthened(self, first: Tensor, draw: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        """Latents of the wanted frames (B, V' · n, C), out of those of the model's frames (B, V · n, C).

        Each further window begins with the last frames of the one before, which are given to it: the first of them as
        its first frame, all of them as known tokens.

        Args:
            first: the first window.
            draw: number of the window, known latents (B, V · n, C), tokens to sample (V · n,) bool → latents.
        """
        places = first.shape[1] // self._usual
        kept = self._shared * places
        anew = torch.arange(first.shape[1]) >= kept
        latents = first
        for number in range(1, self.windows):
            known = torch.cat([latents[:, -kept:], torch.zeros_like(first[:, kept:])], 1)
            latents = torch.cat([latents, draw(number, known, anew)[:, kept:]], 1)
        return latents if self.frames is None else latents[:, : self.frames * places]


def check_wishes(wishes: Mapping[str, float], frames: int | None, read: set[str], noun: str) -> None:
    """UserError for an option that says how a clip goes on, where the model does not read it.

    Args:
        wishes: options that were given.
        frames: of the clip, where they were given.
        read: keys of the model's sources.
        noun: of the domain.
    """
    sources = {"elevation": "angles", "fps": "motion", "motion": "motion"}
    for key, value in wishes.items():
        if sources[key] not in read:
            raise UserError(f"{key}={value:g} has no effect on this model, which does not read it: leave it out")
    if frames is not None and "first_frame" not in read:
        raise UserError(
            "frames= is given, but no end: give to= (a second prompt) or to_seed= (a second seed); only clips have "
            f"frames of their own, and this model makes a {noun}"
        )
