"""Reconstruction metrics. Distances are in box units: an asset is 1.8 along its longest side.

With each figure report the number of points, the grid of the mesh, and the seed of the surface points. Axis letter: N
points.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.mesh import Mesh
from fieldforge.geometry.sampling import sample_surface

Floats = NDArray[np.floating]

BOX_DIAGONAL = 2 * math.sqrt(3)  # box units: no two points of the box are farther apart


def volume_iou(sdf: Floats, true_sdf: Floats) -> float:
    """Intersection over union of the insides, counted on points (N,) with both signed distances.

    The distance is negative inside. With points uniform in the box this estimates the ratio of volumes. It is 1 where
    both are empty.
    """
    assert sdf.shape == true_sdf.shape, f"{sdf.shape} against {true_sdf.shape}"
    inside, truly = sdf < 0, true_sdf < 0
    union = np.count_nonzero(inside | truly)
    return np.count_nonzero(inside & truly) / union if union else 1.0


@dataclass(frozen=True)
class SurfaceAgreement:
    """Comparison of two surfaces by points on them, see `compare_surfaces`."""

    chamfer_l1: float
    chamfer_l2: float
    precision: float
    recall: float
    f_score: float
    normal_consistency: float


def compare_surfaces(
    points: Floats, normals: Floats, true_points: Floats, true_normals: Floats, threshold: float = 0.02
) -> SurfaceAgreement:
    """Compare points and unit normals (N, 3) of a reconstruction with those of the truth; the counts may differ.

    With d the distances from each reconstructed point to the nearest true one, and e those from each true point:
    chamfer_l1 = (mean d + mean e) / 2 (Mescheder et al. 2019, "Occupancy Networks"); chamfer_l2 = mean d² + mean e²
    (Achlioptas et al. 2018); precision and recall = shares of d and e below the threshold, f_score their harmonic mean
    (Knapitsch et al. 2017, "Tanks and Temples"); normal_consistency = mean |cos| between a point's normal and its
    nearest neighbour's, over both directions (Mescheder et al. 2019), so that the sides of faces do not matter.

    Points are sparse: even of a perfect reconstruction, only about 1 - exp(-π threshold² N / A) lies within the
    threshold of N points on a surface of area A. With an area of 10 (furniture with its insides) and a threshold of
    0.02, precision cannot exceed 0.87 for 16,384 true points, nor 0.23 for 2,048. Dense reconstructed points spare
    recall that.

    A reconstruction without points gets the box's diagonal as its distances, and 0 in everything else.
    """
    assert len(true_points), "an asset without surface cannot be compared with"
    if not len(points):
        return SurfaceAgreement(BOX_DIAGONAL, 2 * BOX_DIAGONAL**2, 0.0, 0.0, 0.0, 0.0)
    d, nearest_true = cKDTree(true_points).query(points)
    e, nearest = cKDTree(points).query(true_points)
    precision, recall = float((d < threshold).mean()), float((e < threshold).mean())
    cosines = np.abs((normals * true_normals[nearest_true]).sum(axis=1))
    true_cosines = np.abs((true_normals * normals[nearest]).sum(axis=1))
    return SurfaceAgreement(
        chamfer_l1=float(d.mean() + e.mean()) / 2,
        chamfer_l2=float(np.square(d).mean() + np.square(e).mean()),
        precision=precision,
        recall=recall,
        f_score=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        normal_consistency=float(cosines.mean() + true_cosines.mean()) / 2,
    )


def surface_points(mesh: ColoredMesh, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Points and face normals (count, 3) of the mesh, uniform by area; none (0, 3) of an empty mesh."""
    if mesh.is_empty:
        return np.zeros((0, 3)), np.zeros((0, 3))
    samples = sample_surface(Mesh(mesh.vertices.astype(np.float64), mesh.faces), count, rng)
    return samples.points, samples.normals


def peak_signal_to_noise(picture: Floats, truth: Floats) -> float:
    """PSNR in dB of pictures of one shape with values in 0…1: 10 log₁₀ (1 / mean squared error), at most 100.

    Over all values, hence also over those of an opacity channel and of the background if they are passed along.
    """
    assert picture.shape == truth.shape, f"{picture.shape} against {truth.shape}"
    error = float(np.square(picture.astype(np.float64) - truth).mean())
    return -10 * math.log10(max(error, 1e-10))
