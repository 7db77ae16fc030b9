"""What the autoencoder learns from views of its meshes, beside the terms of points and of the volume rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fieldforge.autoencoder.losses import AutoencoderLoss, Batch
from fieldforge.fields.base import Field, Params
from fieldforge.geometry.camera import BOX, Camera
from fieldforge.geometry.isosurface import corners_of, distance_grid, reduce_corners
from fieldforge.geometry.marching_tetrahedra import marching_tetrahedra
from fieldforge.geometry.surface_extraction import ExtractedSurface, SurfaceExtraction
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Count, GridCells, NotNegative
from fieldforge.rendering.mesh_views import Light, render_mesh


@dataclass(frozen=True)
class MeshLoss(AutoencoderLoss):
    """`AutoencoderLoss` with one term more, the joint training of Shap-E (Jun & Nichol 2023, section 4.1).

    mesh: L2 of premultiplied sRGB and coverage in the views of the extracted mesh, the mean over pixels, and over the
        shapes that have a mesh. Gradients reach distances at the corners of cells that the surface crosses, and colours
        at its vertices.

    Args:
        cells: of the grid along an axis.
        mesh_views: of each shape that are rendered; those in the batch are in random order.
        light: in which the stored views are shaded; None: unlit.
        extraction: distances at the corners of the grid → mesh.
    """

    mesh: NotNegative = 1.0
    cells: GridCells = 64
    mesh_views: Count = 2
    light: Light | None = None
    extraction: SurfaceExtraction = marching_tetrahedra

    def planned(self) -> tuple[AutoencoderLoss, tuple[str, ...]]:
        return replace(self, mesh=0.0), ("views of meshes are left out, as their size follows from the shapes",)

    def terms(self, field: Field, params: Params, batch: Batch, randomness: Randomness) -> dict[str, Tensor]:
        terms = super().terms(field, params, batch, randomness)
        return terms | {"mesh": self._of_meshes(field, params, batch)} if self.mesh else terms

    def _of_meshes(self, field: Field, params: Params, batch: Batch) -> Tensor:
        """The mean of `mesh` () over the shapes of the batch; 0, with zero gradients, where none has a surface."""
        views, poses = batch["view_rgba"][:, : self.mesh_views], batch["view_cameras"][:, : self.mesh_views]
        losses, present = [], []
        for index in range(len(views)):
            one = {name: value[index : index + 1] for name, value in params.items()}
            surface = extract_surface(_distance_query(field, one), self.cells, self.extraction, views.device)
            colors = field.query(surface.vertices.detach()[None], one)["rgb"][0]  # (P, 3)
            camera = Camera(poses[index], float(batch["fov_y"][index]), *views.shape[2:4])
            seen = render_mesh(surface.vertices, surface.faces, camera, colors, self.light)
            image = torch.cat([seen.color, seen.mask.unsqueeze(-1)], dim=-1)  # (V, H, W, 4)
            truth = views[index]
            truth = torch.cat([truth[..., :3] * truth[..., 3:], truth[..., 3:]], dim=-1)
            losses.append((image - truth).square().mean())
            present.append(not surface.is_empty)
        share = torch.tensor(present, dtype=torch.float32, device=views.device)
        return (torch.stack(losses) * share).sum() / share.sum().clamp(min=1)


def extract_surface(
    query_sdf: Callable[[Tensor], Tensor], cells: int, extraction: SurfaceExtraction, device: torch.device
) -> ExtractedSurface:
    """The surface of points (N, 3) → signed distances (N,), on a grid of cells³, with gradients to the distances.

    Distances come coarse to fine without gradients (`distance_grid`); those that the surface depends on are queried
    again with them.
    """
    grid = distance_grid(query_sdf, cells, device=device).to(device)  # (G, G, G)
    inside = grid < 0
    crossed = reduce_corners(torch.logical_or, inside) & reduce_corners(torch.logical_or, ~inside)  # (cells,) * 3
    corner = corners_of(crossed).nonzero(as_tuple=True)
    points = 2 * BOX / cells * torch.stack(corner, dim=-1).float() - BOX  # (N, 3)
    return extraction(grid.index_put(corner, query_sdf(points).float()))


def _distance_query(field: Field, params: Params) -> Callable[[Tensor], Tensor]:
    """points (N, 3) → signed distances (N,) of the one shape with these parameters."""
    return lambda points: field.query_head("sdf", points[None], params)[0]
