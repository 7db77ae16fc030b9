"""What the autoencoder learns from views of its meshes, beside the terms of points and of the volume rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fieldforge.autoencoder.losses import AutoencoderLoss, Batch
from fieldforge.autoencoder.perceptual import PerceptualDistance
from fieldforge.autoencoder.view_terms import TrueView, depth_term, normal_term, perceptual_term, picture_term
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.geometry.camera import BOX, Camera
from fieldforge.geometry.isosurface import corners_of, distance_grid, reduce_corners
from fieldforge.geometry.marching_tetrahedra import marching_tetrahedra
from fieldforge.geometry.surface_extraction import ExtractedSurface, SurfaceExtraction
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Count, GridCells, NotNegative
from fieldforge.rendering.mesh_views import Light, render_mesh

VIEW_TERMS = {
    "mesh": picture_term,
    "mesh_depth": depth_term,
    "mesh_normal": normal_term,
    "mesh_perceptual": perceptual_term,
}
EXTRACTION_TERMS = ("sign", "deviation")


@dataclass(frozen=True)
class MeshLoss(AutoencoderLoss):
    """`AutoencoderLoss` with terms of views of the extracted mesh.

    Shap-E's joint training (Jun & Nichol 2023, section 4.1) has `mesh`; InstantMesh's second stage (Xu et al. 2024,
    arXiv 2404.07191, section 3.3) the others besides. Each is a mean over the shapes that have a mesh. Gradients reach
    distances at the corners of cells that the surface crosses, and colours at its vertices.

    mesh: L2 of premultiplied sRGB and coverage, the mean over pixels.
    mesh_depth, mesh_normal, mesh_perceptual: see `view_terms`.
    sign, deviation: loss terms of the extraction, which must have those with a weight.

    Args:
        cells: of the grid along an axis.
        mesh_views: of each shape that are rendered; those in the batch are in random order.
        light: in which the stored views are shaded; None: unlit.
        extraction: distances at the corners of the grid → mesh.
    """

    mesh: NotNegative = 1.0
    mesh_depth: NotNegative = 0.0
    mesh_normal: NotNegative = 0.0
    mesh_perceptual: NotNegative = 0.0
    sign: NotNegative = 0.0
    deviation: NotNegative = 0.0
    cells: GridCells = 64
    mesh_views: Count = 2
    light: Light | None = None
    extraction: SurfaceExtraction = marching_tetrahedra

    def __post_init__(self) -> None:
        if self.mesh_perceptual:
            PerceptualDistance()  # names what is not installed now, not in the first step

    @property
    def of_meshes(self) -> dict[str, float]:
        """The weights of the terms of meshes that have one."""
        weights = {name: getattr(self, name) for name in (*VIEW_TERMS, *EXTRACTION_TERMS)}
        return {name: weight for name, weight in weights.items() if weight}

    def planned(self) -> tuple[AutoencoderLoss, tuple[str, ...]]:
        without = replace(self, mesh=0.0, mesh_depth=0.0, mesh_normal=0.0, mesh_perceptual=0.0, sign=0.0, deviation=0.0)
        return without, ("views of meshes are left out, as their size follows from the shapes",)

    def terms(self, field: Field, params: Params, batch: Batch, randomness: Randomness) -> dict[str, Tensor]:
        terms = super().terms(field, params, batch, randomness)
        if self.of_meshes:
            with torch.autocast(batch["fov_y"].device.type, enabled=False):
                terms |= self._of_meshes(field, params, batch)
        return terms

    def _of_meshes(self, field: Field, params: Params, batch: Batch) -> dict[str, Tensor]:
        """The means () over the shapes of the batch; 0, with zero gradients, where none has a surface."""
        shapes, present = [], []
        for index in range(len(batch["view_rgba"])):
            one = {name: value[index : index + 1] for name, value in params.items()}
            surface = extract_surface(_distance_query(field, one), self.cells, self.extraction, batch["fov_y"].device)
            shapes.append(self._of_mesh(field, one, surface, _true_view(batch, index, self.mesh_views)))
            present.append(not surface.is_empty)
        share = torch.tensor(present, dtype=torch.float32, device=batch["fov_y"].device)
        count = share.sum().clamp(min=1)
        return {name: (torch.stack([shape[name] for shape in shapes]) * share).sum() / count for name in self.of_meshes}

    def _of_mesh(self, field: Field, params: Params, surface: ExtractedSurface, truth: TrueView) -> dict[str, Tensor]:
        """The terms () of one shape."""
        colors = field.query(surface.vertices.detach()[None], params)["rgb"][0]  # (P, 3)
        seen = render_mesh(surface.vertices, surface.faces, truth.camera, colors, self.light)
        return {
            name: VIEW_TERMS[name](seen, truth) if name in VIEW_TERMS else _extraction_term(surface, name)
            for name in self.of_meshes
        }


def _true_view(batch: Batch, index: int, count: int) -> TrueView:
    """The first `count` views of a sample of the batch."""
    rgba, poses = batch["view_rgba"][index, :count], batch["view_cameras"][index, :count]
    depth = batch["view_depth"][index, :count] if "view_depth" in batch else None
    return TrueView(rgba, depth, Camera(poses, float(batch["fov_y"][index]), *rgba.shape[1:3]))


def _extraction_term(surface: ExtractedSurface, name: str) -> Tensor:
    if name not in surface.loss_terms:
        raise UserError(
            f"autoencoder_loss.{name} weighs a term that this extraction does not have, only "
            f"{', '.join(surface.loss_terms)}: take fieldforge.geometry.dual_vertices.dual_vertices, or set it to 0"
        )
    return surface.loss_terms[name]


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
