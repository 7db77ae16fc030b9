"""Whether decoded samples can be told from the training assets whose captions they were given: 1-NNA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shape_transforms import Surface
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta
from fieldforge.domains.shape import ShapeDomain
from fieldforge.domains.shape_outputs import Shapes as DecodedShapes
from fieldforge.errors import UserError
from fieldforge.metrics.clouds import chamfer_matrix, normalized_cloud
from fieldforge.metrics.distribution import nearest_neighbour_accuracy
from fieldforge.metrics.reconstruction import surface_points

CLOUD, RESOLUTION = 256, 32


class Shapes:
    """1-NNA of decoded samples against training assets.

    Args:
        autoencoder: decodes.
        clouds: of the training assets, (N, 3) each.
    """

    def __init__(self, autoencoder: Autoencoder, clouds: Sequence[np.ndarray]):
        self.autoencoder = autoencoder
        self.reference = [normalized_cloud(cloud) for cloud in clouds]
        self.within_reference = chamfer_matrix(self.reference, self.reference, squared=True)

    def accuracy(self, latents: Tensor) -> float:
        """latents (G, T, C), of which as many count as there are reference shapes."""
        shapes = ShapeDomain(resolution=RESOLUTION).decode(self.autoencoder, latents[: len(self.reference)])
        assert isinstance(shapes, DecodedShapes)
        rng = np.random.default_rng(0)
        clouds = []
        for index in range(len(shapes)):
            points, _ = surface_points(shapes.mesh(index, RESOLUTION), CLOUD, rng)
            clouds.append(normalized_cloud(points) if len(points) else np.zeros((1, 3)))  # without surface: a point
        within = chamfer_matrix(clouds, clouds, squared=True)
        across = chamfer_matrix(clouds, self.reference, squared=True)
        return nearest_neighbour_accuracy(within, across, self.within_reference)


def training_clouds(root: str, ids: list[str]) -> list[np.ndarray]:
    """Outside points (N, 3) of the named training assets, in that order."""
    by_id = {}
    for batch in HeldOut(open_shards(root, "train"), [Surface(CLOUD), Meta()], seed=0, batch_size=64):
        points = batch["input"][..., :3].numpy()
        by_id.update(
            {meta["id"]: cloud for meta, cloud in zip(batch["meta"], points, strict=True) if meta["id"] in ids}
        )
    missing = [name for name in ids if name not in by_id]
    if missing:
        raise UserError(
            f"data in {root} have no asset {missing[0]}: give the shards that the run was made from, --data"
        )
    return [by_id[name] for name in ids]
