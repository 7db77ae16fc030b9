"""A clip as one picture, for the contact sheet."""

from collections.abc import Sequence

import numpy as np

from fieldforge.data.image_transforms import resized, with_alpha

TILE_SIZE = 96


def four_frames(frames: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """uint8 (2 · TILE_SIZE, 2 · TILE_SIZE, 4): four frames uint8 (H, W, 3 or 4) at even distances, row by row."""
    tiles = [resized(with_alpha(frames[quarter * len(frames) // 4]), TILE_SIZE) for quarter in range(4)]
    return np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)])
