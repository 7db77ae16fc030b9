"""Colours of PLY and OFF files, in any number type and scale: 0…1, 0…255 or 0…65535."""

import numpy as np

from fieldforge.readers.file_store import Notes

VISIBLE = 0.02
"""Below this opacity a face is dropped (`clean.remove_invisible_faces`)."""


def full_scale(values: np.ndarray) -> float:
    """The full scale of numbers whose type does not define it: 1, 255 or 65535, by the largest number."""
    largest = float(np.nanmax(values, initial=0))
    return next((scale for scale in (1.0, 255.0, 65535.0) if largest <= scale), largest)


def unit_rgba(colors: np.ndarray, alpha: np.ndarray | None, notes: Notes) -> np.ndarray:
    """sRGB colours (N, 3) and opacities (N,), scaled to 0…1 → float32 (N, 4) as a mesh has them.

    If all points would be invisible, alpha does not mean opacity (scanners write 0): they are opaque, with a note.
    """
    if not np.isfinite(colors).all():
        notes.add("some of its colours are not numbers: they are taken as 0")
    opacity = np.ones(len(colors)) if alpha is None else np.nan_to_num(alpha, nan=1.0)
    if len(opacity) and opacity.max() < VISIBLE:
        notes.add("all its colours have an alpha of 0: it is taken as opaque")
        opacity = np.ones(len(colors))
    rgba = np.concatenate([np.where(np.isfinite(colors), colors, 0), opacity[:, None]], axis=1)
    return np.clip(rgba, 0, 1).astype(np.float32)
