"""Features of rendered views: distances between generated and stored shapes as they look.

Unlit views of meshes from the cameras of the stored ones. Such distances are common since Gao et al. 2022, "GET3D";
their values depend on renderer, views and network, so that only those of one program can be compared. Axis letters: R
stored shapes, V views, H/W pixels, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fieldforge.conditioning.efficientnet import efficientnet_lite0
from fieldforge.data.reader import ShardReader
from fieldforge.data.shards import ShardSet
from fieldforge.domains.domain import Outputs
from fieldforge.domains.mesh_output import MeshOutput
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.domains.shape_truth import TrueViews
from fieldforge.geometry.camera import Camera
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.metrics.distribution import frechet_distance, kernel_distance
from fieldforge.rendering.mesh_views import render_mesh

SHAPES = 64  # of a set; with two views each they take seconds
BATCH = 32  # pictures


@dataclass(frozen=True)
class StoredViews:
    """Views of the stored shapes of a split, over white.

    Args:
        pictures: (R · V, 3, H, W), sRGB 0…1.
        poses: camera to world (V, 4, 4) of the first shape, from which generated ones are seen.
        fov_y: vertical field of view in radians.
    """

    pictures: Tensor
    poses: Tensor
    fov_y: float

    @staticmethod
    def of(shards: ShardSet, views: int) -> StoredViews:
        """V = `views` views, as far as there are so many, of evenly many of the samples, at most `SHAPES`."""
        reader, choose = ShardReader(shards), TrueViews(views)
        count, rng = min(shards.samples, SHAPES), np.random.default_rng(0)
        samples = [choose(reader.read_number(shards.samples * n // count), rng) for n in range(count)]
        pictures = np.concatenate([over_white(sample["views"]) for sample in samples])
        first: dict[str, Any] = samples[0]
        return StoredViews(torch.from_numpy(pictures), torch.from_numpy(first["cameras"]), float(first["fov_y"]))

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """(R · V, F)."""
        return features_of(self.pictures)

    def compare(self, outputs: Sequence[Outputs]) -> dict[str, float]:
        """`view_frechet` and `view_kernel` of the features of meshes, thinned evenly to `SHAPES`; empty ones have none.

        Fréchet distances are comparable for sets of equal size only. No figures with fewer than two meshes.
        """
        seen = [output.surface for output in outputs if isinstance(output, Shapes | MeshOutput) and not output.is_empty]
        count = min(len(seen), SHAPES)
        if count < 2:
            return {}
        features = features_of(torch.cat([self.rendered(seen[len(seen) * n // count]) for n in range(count)]))
        return {
            "view_frechet": frechet_distance(features, self.features),
            "view_kernel": kernel_distance(features, self.features),
        }

    def rendered(self, mesh: ColoredMesh) -> Tensor:
        """(V, 3, H, W) of a mesh, from the cameras of the stored views, at their size."""
        size = self.pictures.shape[-1]
        corners, faces, colors = (torch.as_tensor(part) for part in (mesh.vertices, mesh.faces, mesh.colors))
        views = render_mesh(corners, faces, Camera(self.poses, self.fov_y, size, size), colors)
        pixels = torch.cat([views.color, views.mask[..., None]], dim=-1)  # (V, H, W, 4) premultiplied
        return torch.from_numpy(over_white(pixels.numpy()))


def over_white(views: NDArray[np.floating]) -> NDArray[np.float32]:
    """Premultiplied (V, H, W, 4) → (V, 3, H, W) over white, sRGB 0…1."""
    flat = views[..., :3] + (1 - views[..., 3:])
    return np.ascontiguousarray(np.moveaxis(flat, -1, 1), dtype=np.float32).clip(0, 1)


def features_of(pictures: Tensor) -> NDArray[np.float32]:
    """(B, F) of EfficientNet-Lite0, trained on ImageNet, of pictures (B, 3, H, W), sRGB 0…1."""
    network, vectors = efficientnet_lite0(), []
    for part in pictures.float().split(BATCH):
        large = F.interpolate(part, (network.size, network.size), mode="bicubic", antialias=True).clamp(0, 1)
        vector = network.encode(large).vector
        assert vector is not None
        vectors.append(vector.numpy())
    return np.concatenate(vectors)
