"""A coloured ball whose field is known, and how near the colours of a mesh are to it."""

import numpy as np
import torch

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.field_colors import query_colors
from fieldforge.geometry.isosurface import extract_mesh

RADIUS = 0.8


def rgb(points: torch.Tensor) -> torch.Tensor:
    return 0.5 + 0.5 * torch.sin(6 * points)


def ball(resolution: int = 32) -> ColoredMesh:
    return extract_mesh(lambda points: points.norm(dim=-1) - RADIUS, rgb, resolution)


def psnr(colors: np.ndarray, points: np.ndarray) -> float:
    """dB of colours (N, 3) against those of the field at the points (N, 3)."""
    return float(-10 * np.log10(np.mean((colors - query_colors(rgb, points)) ** 2)))


def mesh_psnr(mesh: ColoredMesh, count: int = 20_000) -> float:
    """dB of a mesh's colours at random points, uniform by area."""
    faces, weights, points = surface_points(mesh, count)
    return psnr(mesh.color_at(faces, weights), points)


def surface_points(mesh: ColoredMesh, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    corners = mesh.vertices[mesh.faces].astype(np.float64)  # (F, 3, 3)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    faces, weights = rng.choice(len(areas), count, p=areas / areas.sum()), rng.dirichlet((1, 1, 1), count)
    return faces, weights, np.einsum("nc,ncd->nd", weights, corners[faces])
