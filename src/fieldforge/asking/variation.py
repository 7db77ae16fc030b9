"""From a mesh file to the latent that an autoencoder gives it: what `sample.py from=mesh.glb` starts at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.transforms import Surface
from fieldforge.errors import UserError
from fieldforge.preparation.asset import surface_of_file
from fieldforge.preparation.pipeline import check_libraries
from fieldforge.preparation.settings import Limits
from fieldforge.preparation.stores import AssetError

LIMITS = Limits(max_triangles=2_000_000, max_file_mb=512, min_thickness=0.005)


@torch.no_grad()
def latent_of_mesh(path: Path, autoencoder: Autoencoder, points: int, seed: int) -> Tensor:
    """Latent (1, T, C) of a mesh file, prepared in memory as prepare.py prepares it.

    Args:
        path: in any of the formats that are prepared.
        autoencoder: encodes it.
        points: on its outside, as many as the latents were encoded from that the diffusion knows.
        seed: of these points.

    Raises:
        UserError: no such file, a mesh that cannot be used, or the libraries for it are missing.
    """
    if not path.is_file():
        raise UserError(f"from={path}: there is no such file, give the path of a mesh")
    check_libraries()
    try:
        sample = surface_of_file(path, 4 * points, LIMITS, seed)  # (some of them lie inside)
    except AssetError as error:
        raise UserError(f"from={path}: {error}") from error
    surface = torch.from_numpy(Surface(points)(sample, np.random.default_rng(seed))["input"])  # (N, 9)
    device = next(autoencoder.parameters()).device
    return autoencoder.encode(surface[None].to(device))
