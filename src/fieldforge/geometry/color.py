"""Conversion between sRGB, which the project uses for all colours, and linear light, as in glTF (IEC 61966-2-1)."""

import numpy as np
from numpy.typing import NDArray


def srgb_to_linear(srgb: NDArray[np.floating]) -> NDArray[np.floating]:
    """Linear light 0…1 of sRGB values 0…1 of any shape; values outside are clipped."""
    srgb = np.clip(srgb, 0.0, 1.0)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """sRGB values 0…1 of linear light 0…1 of any shape; values outside are clipped."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
