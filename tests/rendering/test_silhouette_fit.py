"""A small form of the benchmark: outlines alone carry a ball to the shape of another thing."""

import torch
from benchmarks.silhouette_fit import DISTANCE, FOV, fit_masks, true_masks

from fieldforge.geometry.camera import Camera, fibonacci_poses


def test_a_ball_becomes_an_animal_by_its_outlines():
    camera = Camera(fibonacci_poses(8, DISTANCE), FOV, 48, 48)
    fit = fit_masks(camera, true_masks(camera), cells=24, steps=60)
    assert fit.before < 0.2
    assert fit.after > 0.6  # 0.70
    assert not torch.equal(fit.shape.offsets, torch.zeros_like(fit.shape.offsets))
