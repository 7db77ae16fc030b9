"""The directions of six views around a thing that is seen in one picture.

Those of Zero123++ 1.2 (Shi et al. 2023, arXiv 2310.15110, section 2.2): azimuths count from the picture's, elevations
from the horizon, so that these do not have to be told.
"""

import math

AZIMUTHS = tuple(math.radians(degrees) for degrees in (30, 90, 150, 210, 270, 330))
ELEVATIONS = tuple(math.radians(degrees) for degrees in (20, -10, 20, -10, 20, -10))


def with_six_views(azimuth: float, elevation: float) -> tuple[list[float], list[float]]:
    """Azimuths and elevations (7 each, radians) of a picture, seen from these angles, and of the six views."""
    return [azimuth, *(azimuth + turn for turn in AZIMUTHS)], [elevation, *ELEVATIONS]
