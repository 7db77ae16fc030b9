"""What a file announces against what is allowed, before memory is spent on it."""

from fieldforge.preparation.settings import Limits
from fieldforge.preparation.stores import AssetError


def check_announced(triangles: int, limits: Limits) -> None:
    """AssetError if a file says that it holds more triangles than the limit."""
    if triangles > limits.max_triangles:
        raise AssetError(
            f"the file announces {triangles:,} triangles and the limit is {limits.max_triangles:,}; "
            "simplify it or raise preparation.limits.max_triangles."
        )
