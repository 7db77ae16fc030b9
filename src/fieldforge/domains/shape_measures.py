"""Measures of shapes: reconstructions against their truth, and sets of shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fieldforge.domains.domain import Truth
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.geometry.camera import Camera
from fieldforge.metrics.clouds import chamfer_matrix, earth_movers_matrix
from fieldforge.metrics.distribution import coverage, minimum_matching_distance, nearest_neighbour_accuracy
from fieldforge.metrics.neighbours import count_parts, neighbours_of, openness, sharp_normal_error, texture
from fieldforge.metrics.pieces import count_pieces
from fieldforge.metrics.reconstruction import compare_surfaces, peak_signal_to_noise, surface_points, volume_iou
from fieldforge.rendering.mesh_views import render_mesh

SET, SET_POINTS = 64, 512  # shapes of a set and points of a shape by Chamfer distance; this takes seconds
MATCHED_SET, MATCHED_POINTS = 32, 256  # … by earth mover's distance, which is cubic in the points


@torch.no_grad()
def measure_reconstruction(output: Shapes, truth: Truth, count: int, threshold: float) -> dict[str, float]:
    """The measures of one reconstruction, see `ShapeDomain.measure`.

    Args:
        output: the reconstruction.
        truth: of this sample.
        count: points on the reconstruction.
        threshold: of the F-score, box units.
    """
    sdf = output.sdf(truth["box_points"].to(output.device))[0].cpu().numpy()  # (K,)
    mesh, true_sdf = output.surface, truth["box_sdf"][0].numpy()
    points, normals = surface_points(mesh, count, np.random.default_rng(0))
    true_points, true_normals = truth["true_points"][0].numpy(), truth["true_normals"][0].numpy()
    outside = truth["exposed"][0].numpy()
    if not outside.any():
        outside = np.ones_like(outside)
    everything, exposed = (
        compare_surfaces(points, normals, true_points[mask], true_normals[mask], threshold)
        for mask in (np.ones_like(outside), outside)
    )
    return {
        "iou": volume_iou(sdf, true_sdf),
        "chamfer_l1": everything.chamfer_l1,
        "f_score": everything.f_score,
        "normal_consistency": everything.normal_consistency,
        "sharp_normal_error": sharp_normal_error(points, normals, true_points, true_normals),
        "chamfer_l1_exposed": exposed.chamfer_l1,
        "f_score_exposed": exposed.f_score,
        "normal_consistency_exposed": exposed.normal_consistency,
        **measure_views(output, truth),
        "pieces": float(count_pieces(mesh.vertices, mesh.faces)),
        **measure_difficulty(truth),
    }


def measure_views(output: Shapes, truth: Truth) -> dict[str, float]:
    """PSNR (dB) of volume renderings, and of unlit views of the mesh, at the stored views' size."""
    views, fov_y, poses = truth["views"][0].numpy(), float(truth["fov_y"][0]), truth["cameras"][0]  # (V, H, W, 4)
    size, mesh = views.shape[1], output.surface
    views_of_output = [output.views(pose[None], fov_y, size)[0] for pose in poses]
    corners, faces, colors = (torch.as_tensor(part) for part in (mesh.vertices, mesh.faces, mesh.colors))
    views_of_mesh = render_mesh(corners, faces, Camera(poses, fov_y, size, size), colors).color  # (V, H, W, 3)
    return {
        "view_psnr": peak_signal_to_noise(torch.stack(views_of_output)[..., :3].cpu().numpy(), views[..., :3]),
        "mesh_psnr": peak_signal_to_noise(views_of_mesh.numpy(), views[..., :3]),
    }


def measure_difficulty(truth: Truth) -> dict[str, float]:
    """What makes a shape difficult, of the truth alone.

    `thickness` is four times the mean depth of points inside, which is exact for a wide plate; see
    `metrics/neighbours.py` for the others.
    """
    true_sdf, neighbours = truth["box_sdf"][0].numpy(), neighbours_of(truth["true_points"][0].numpy())
    return {
        "thickness": 4 * float(-true_sdf[true_sdf < 0].mean()) if (true_sdf < 0).any() else 0.0,
        "openness": openness(truth["near_sdf"][0].numpy()),
        "parts": float(count_parts(neighbours)),
        "texture": texture(truth["true_colors"][0].numpy(), neighbours),
    }


def compare_clouds(these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> dict[str, float]:
    """Measures of two sets of clouds, by Chamfer L1 and by earth mover's distance, without normalisation.

    Both sets are thinned evenly to the same size, at most `SET` (`MATCHED_SET`) clouds of at most `SET_POINTS`
    (`MATCHED_POINTS`) points. The result is empty if either set has fewer than two clouds with points.
    """
    these, those = ([cloud for cloud in clouds if len(cloud)] for clouds in (these, those))
    if min(len(these), len(those)) < 2:
        return {}
    first, second = _thinned(these, those, SET, SET_POINTS)
    across = chamfer_matrix(first, second, squared=False)
    own, other = (chamfer_matrix(clouds, clouds, squared=False) for clouds in (first, second))
    first, second = _thinned(these, those, MATCHED_SET, MATCHED_POINTS)
    matched = earth_movers_matrix(first, second)
    matched_own, matched_other = (earth_movers_matrix(clouds, clouds) for clouds in (first, second))
    return {
        "nearest_neighbour_accuracy": nearest_neighbour_accuracy(own, across, other),
        "coverage": coverage(across),
        "minimum_matching_distance": minimum_matching_distance(across),
        "nearest_neighbour_accuracy_emd": nearest_neighbour_accuracy(matched_own, matched, matched_other),
        "coverage_emd": coverage(matched),
        "minimum_matching_distance_emd": minimum_matching_distance(matched),
    }


def _thinned(
    these: Sequence[np.ndarray], those: Sequence[np.ndarray], most: int, points: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Both sets with the same number of clouds, at most `most`, all of one size, at most `points`."""
    count = min(len(these), len(those), most)
    chosen = [[clouds[len(clouds) * n // count] for n in range(count)] for clouds in (these, those)]
    size = min([points, *(len(cloud) for clouds in chosen for cloud in clouds)])
    first, second = ([cloud[:size] for cloud in clouds] for clouds in chosen)
    return first, second
