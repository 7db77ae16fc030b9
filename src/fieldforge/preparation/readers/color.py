"""Colours of files as the house keeps them: sRGB and straight alpha, float32 in 0…1."""

from collections.abc import Callable

import numpy as np


def encode_colors(colors: np.ndarray, encode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Colours of any number type (N, 3 or 4) → float32 (N, 4) sRGB + alpha in 0…1."""
    scale = np.iinfo(colors.dtype).max if colors.dtype.kind in "iu" else 1.0
    values = np.clip(colors.astype(np.float32) / scale, 0, 1)
    alpha = values[:, 3:4] if values.shape[1] > 3 else np.ones((len(values), 1), np.float32)
    return np.concatenate([encode(values[:, :3]), alpha], axis=1).astype(np.float32)


def srgb_of_linear(values: np.ndarray) -> np.ndarray:
    """sRGB transfer function (IEC 61966-2-1), 0…1 to 0…1."""
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * np.maximum(values, 1e-9) ** (1 / 2.4) - 0.055)
