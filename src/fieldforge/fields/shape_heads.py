"""What a field of a shape answers."""

from collections.abc import Mapping

SHAPE_HEADS: Mapping[str, int] = {"sdf": 0, "density": 0, "rgb": 3}
"""sdf (B, N): signed distance in box units, negative inside. density (B, N): extinction per box unit, ≥ 0, for the
volume integral. rgb (B, N, 3): sRGB in [0, 1]."""
