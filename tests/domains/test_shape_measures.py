"""Measures of balls, of which everything is known."""

import numpy as np
import pytest
import torch
from tests.runs.tiny import COLORS, ball
from torch import Tensor

from fieldforge.data.stream import collate
from fieldforge.data.transforms import apply_transforms
from fieldforge.domains.shape import ShapeDomain
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.fields.base import Field, Params, Values

DOMAIN = ShapeDomain(points=256, resolution=64, surface_points=20_000, f_score_threshold=0.05)


class OneBall(Field):
    """A ball whose radius and colour are its parameters."""

    dimensions, heads = 3, {"sdf": 0, "density": 0, "rgb": 3}

    @property
    def param_shapes(self) -> dict[str, tuple[int, int]]:
        return {"ball": (1, 4)}

    def query(self, points: Tensor, params: Params) -> Values:
        radius, color = params["ball"][..., :1], params["ball"][..., 1:]  # (B, 1, 1), (B, 1, 3)
        sdf = points.norm(dim=-1) - radius[..., 0]
        return {"sdf": sdf, "density": 200.0 * (sdf < 0), "rgb": color.expand_as(points)}


def measures(radius: float, color: str) -> dict[str, float]:
    """Of a ball beside the truth of a red one of radius 0.5."""
    sample = ball(0.5, "red", "heldout", seed=0, points=4000, size=64)
    truth = collate([apply_transforms(sample, DOMAIN.truth_transforms(), np.random.default_rng(0))])
    params = torch.tensor([[[radius, *(value / 255 for value in COLORS[color])]]])
    return DOMAIN.measure(Shapes(OneBall(), {"ball": params}, 64), truth)


def test_the_same_ball_is_right_in_every_measure():
    same = measures(0.5, "red")
    assert same["iou"] > 0.99
    assert same["f_score"] > 0.95
    assert min(same["view_psnr"], same["mesh_psnr"]) > 25
    assert same["pieces"] == 1


def test_another_colour_is_wrong_in_views_alone_by_as_much_as_it_differs():
    other = measures(0.5, "blue")
    covered = (ball(0.5, "red", "heldout", 0, size=64)["view_000.png"][..., 3] > 0).mean()  # of a view
    difference = np.mean([(a / 255 - b / 255) ** 2 for a, b in zip(COLORS["red"], COLORS["blue"], strict=True)])
    expected = -10 * np.log10(covered * difference)
    assert other["iou"] > 0.99
    assert other["view_psnr"] == pytest.approx(expected, abs=0.5)
    assert other["mesh_psnr"] == pytest.approx(expected, abs=0.5)


def test_a_smaller_ball_has_the_share_of_its_volume():
    same, smaller = measures(0.5, "red"), measures(0.4, "red")
    assert smaller["iou"] == pytest.approx(0.8**3, abs=0.05)
    assert smaller["mesh_psnr"] < same["mesh_psnr"] - 3
    assert smaller["f_score"] < 0.05
