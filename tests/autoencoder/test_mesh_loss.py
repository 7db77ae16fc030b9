"""The loss of mesh views, for a field with one parameter: a ball of a radius and a grey."""

import math

import pytest
import torch
from torch import Tensor

from fieldforge.autoencoder.losses import AutoencoderLoss
from fieldforge.autoencoder.mesh_loss import MeshLoss, extract_surface
from fieldforge.autoencoder.view_terms import normals_of_depth
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params, Values
from fieldforge.fields.shape_heads import SHAPE_HEADS
from fieldforge.geometry.camera import Camera, look_at
from fieldforge.geometry.dual_vertices import dual_vertices
from fieldforge.geometry.marching_tetrahedra import marching_tetrahedra
from fieldforge.rendering.mesh_views import render_mesh

SIZE, FOV = 48, math.radians(40)
ONLY_MESH = {"distance": 0, "occupancy": 0, "color": 0, "view": 0, "opacity": 0, "cells": 32}


class Ball(Field):
    dimensions, heads = 3, SHAPE_HEADS
    param_shapes = {"ball": (1, 2)}

    def query(self, points: Tensor, params: Params) -> Values:
        radius, grey = params["ball"].unbind(-1)  # (B, 1)
        sdf = points.norm(dim=-1) - radius
        return {"sdf": sdf, "density": (-sdf).relu(), "rgb": grey[..., None].expand(*points.shape[:2], 3)}


def params(*balls: tuple[float, float]) -> Params:
    return {"ball": torch.tensor(balls)[:, None].requires_grad_()}  # (B, 1, 2)


def batch_of(*balls: tuple[float, float]) -> dict[str, Tensor]:
    """Two views of the true mesh of each ball."""
    poses, views, depths = look_at(torch.tensor([[0.0, 0.0, 4.0], [3.0, 1.0, -2.0]])), [], []
    for radius, grey in balls:
        mesh = extract_surface(lambda p, r=radius: p.norm(dim=-1) - r, 32, marching_tetrahedra, torch.device("cpu"))
        seen = render_mesh(mesh.vertices, mesh.faces, Camera(poses, FOV, SIZE, SIZE))
        color = torch.full((*seen.mask.shape, 3), grey)  # straight, not premultiplied
        views.append(torch.cat([color, seen.mask[..., None]], dim=-1))
        depths.append(seen.depth)
    return {
        "view_rgba": torch.stack(views),
        "view_depth": torch.stack(depths),
        "view_cameras": poses.expand(len(balls), *poses.shape),
        "fov_y": torch.full((len(balls),), FOV),
    }


def mesh_term(values: Params, batch: dict[str, Tensor], **settings: object) -> Tensor:
    return terms_of(values, batch, **settings)["mesh"]


def terms_of(values: Params, batch: dict[str, Tensor], **settings: object) -> dict[str, Tensor]:
    return MeshLoss(**{**ONLY_MESH, **settings}).terms(Ball(), values, batch, torch.Generator())


@pytest.mark.parametrize("extraction", [marching_tetrahedra, dual_vertices])
def test_the_truth_costs_nothing_and_a_smaller_ball_wants_to_grow(extraction):
    batch = batch_of((0.6, 0.4))
    assert mesh_term(params((0.6, 0.4)), batch, extraction=extraction) < 2e-4
    radii, terms, gradients = (0.47, 0.48, 0.49, 0.50, 0.51, 0.52, 0.53), [], []
    for radius in radii:
        values = params((radius, 0.4))
        terms.append(mesh_term(values, batch, extraction=extraction))
        gradients.append(torch.autograd.grad(terms[-1], values["ball"])[0][0, 0, 0])
    slope = (terms[-1] - terms[0]) / (radii[-1] - radii[0])
    assert slope < -0.1
    assert torch.stack(gradients).mean().item() == pytest.approx(slope.item(), rel=0.05), "whole pixels average out"


def test_colours_get_the_gradient_of_their_pixels():
    batch, values = batch_of((0.6, 0.4)), params((0.6, 0.7))
    (gradient,) = torch.autograd.grad(mesh_term(values, batch), values["ball"])
    covered = batch["view_rgba"][..., 3].square().mean().item()
    assert gradient[0, 0, 1].item() == pytest.approx(2 * 0.3 * covered * 3 / 4, rel=0.05)


def test_shapes_without_a_surface_are_left_out_of_the_mean():
    batch, values = batch_of((0.6, 0.4), (0.6, 0.4)), params((0.5, 0.4), (-0.5, 0.4))
    term = mesh_term(values, batch)
    torch.testing.assert_close(term, mesh_term(params((0.5, 0.4)), batch_of((0.6, 0.4))))
    (gradient,) = torch.autograd.grad(term, values["ball"])
    assert gradient[0, 0, 0] < 0
    assert not gradient[1].any()
    nothing = params((-0.5, 0.4))
    (gradient,) = torch.autograd.grad(mesh_term(nothing, batch_of((0.6, 0.4))), nothing["ball"])
    assert not gradient.any()


FURTHER = {"mesh_depth": 1.0, "mesh_normal": 1.0, "mesh_perceptual": 1.0, "sign": 1.0, "deviation": 1.0}


def test_depths_normals_and_looks_tell_a_smaller_ball_from_the_truth():
    batch = batch_of((0.6, 0.4))
    with torch.no_grad():
        right, wrong = (
            terms_of(params((radius, grey)), batch, extraction=dual_vertices, **FURTHER)
            for radius, grey in ((0.6, 0.4), (0.45, 0.6))
        )
    assert right.keys() == {"mesh", *FURTHER}
    assert right["mesh_depth"] < 5e-3
    assert right["mesh_normal"] < 0.02, "of differences between pixels"
    assert right["mesh_perceptual"] < 0.01
    assert 0.15 < wrong["mesh_depth"] < 0.25, "more than 0.15 beside the axis"
    for name in ("mesh_normal", "mesh_perceptual"):
        assert wrong[name] > 3 * right[name]


def test_depths_move_a_surface_towards_the_true_one():
    batch, values = batch_of((0.6, 0.4)), params((0.5, 0.4))
    term = terms_of(values, batch, mesh=0, mesh_depth=1.0)["mesh_depth"]
    (gradient,) = torch.autograd.grad(term, values["ball"])
    assert gradient[0, 0, 0] < -0.9, "a surface that grows comes nearer, by more than it grows beside the axis"


def test_true_normals_are_unknown_where_a_surface_ends():
    pose = look_at(torch.tensor([[0.0, 0.0, 4.0]]))
    depth = torch.full((1, SIZE, SIZE), 4.0)
    depth[:, :, SIZE // 2 :] = 5.0
    normals, known = normals_of_depth(depth, Camera(pose, FOV, SIZE, SIZE))
    assert not known[:, :, SIZE // 2 - 1 : SIZE // 2 + 1].any()
    assert not known[:, 0].any()
    assert known[:, 1:-1, 1 : SIZE // 2 - 1].all()
    assert normals[known][:, 2].min() > 0.9, "towards the camera"


def test_a_term_that_the_extraction_does_not_have_is_a_sentence():
    with pytest.raises(UserError, match=r"deviation weighs a term that this extraction does not have, only sign"):
        terms_of(params((0.5, 0.4)), batch_of((0.6, 0.4)), deviation=0.1)


def test_a_term_without_weight_is_not_computed():
    """So that a phase without views needs no rays, and one without distances no points."""
    loss = AutoencoderLoss(distance=0, occupancy=0, color=0, view=0, opacity=0)
    assert loss.terms(Ball(), params((0.5, 0.5)), {}, torch.Generator()) == {}
    assert MeshLoss(**{**ONLY_MESH, "mesh": 0}).terms(Ball(), params((0.5, 0.5)), {}, torch.Generator()) == {}
