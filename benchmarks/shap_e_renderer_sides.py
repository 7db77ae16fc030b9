"""Shap-E's renderer at full size: diffusers' and this project's, with the same random weights."""

import math
from collections.abc import Callable
from functools import partial

import torch
from diffusers.pipelines.shap_e.camera import create_pan_cameras
from diffusers.pipelines.shap_e.renderer import ImportanceRaySampler, ShapERenderer, StratifiedRaySampler
from sides import products_of_trainings
from torch import Tensor, nn

from fieldforge.autoencoder.losses import AutoencoderLoss
from fieldforge.autoencoder.weight_rows import WeightRows
from fieldforge.exchange.cube_tables import cube_tables
from fieldforge.exchange.renderer_names import DIFFUSERS, to_layout
from fieldforge.fields.radiance import radiance_query
from fieldforge.fields.shap_e_field import ShapEField
from fieldforge.fields.z_up import to_y_up
from fieldforge.geometry.camera import Rays
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.noise.randomness import StepRandomness
from fieldforge.rendering.volume import render_levels

Side = Callable[[], Callable[[], object]]
RAYS, COARSE, FINE, GRID = 1024, 64, 128, 128
SLOW = 1 + 2 * 2  # numbers of a coordinate's encoding up to frequency 2


class Matrices(nn.Module):
    """In the place of diffusers' map from latents: matrices that are there."""

    def __init__(self, params: dict[str, Tensor]):
        super().__init__()
        self.params = {f"nerstf.mlp.{name[-1]}.weight": value for name, value in params.items()}

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        return self.params


def pair(fitted: bool = False) -> tuple[ShapEField, dict[str, Tensor], ShapERenderer]:
    """Our field, its generated matrices (1, rows, width), and diffusers' renderer of the same weights."""
    torch.manual_seed(0)
    field = ShapEField()
    params = {
        name: torch.randn(1, rows, width) / math.sqrt(width) for name, (rows, width) in field.param_shapes.items()
    }
    if fitted:
        fit_ball(field, params)
    else:  # what a field is at its start would be an even fog
        for layer in field.linear_layers():
            nn.init.normal_(layer.weight, std=3 / math.sqrt(layer.in_features))
        nn.init.ones_(layer.bias[1:3])  # of both densities
    theirs = ShapERenderer(d_latent=1)
    rows = WeightRows(sum(len(value[0]) for value in params.values()), 1, field.param_shapes)
    whole = nn.ModuleDict({"field": field, "decoder": rows}).state_dict()  # the map to matrices is not read
    theirs.load_state_dict(to_layout(whole, DIFFUSERS), strict=False)
    with torch.no_grad():
        for name, value in params.items():
            theirs.mlp.mlp[int(name[-1])].weight.copy_(value[0])
    theirs.params_proj = Matrices(params)
    theirs.mesh_decoder.cases, theirs.mesh_decoder.masks = cube_tables()
    return field, params, theirs


@torch.no_grad()
def fit_ball(field: ShapEField, params: dict[str, Tensor], points: int = 8192) -> None:
    """Solve the last layer for the distance to a ball of radius 0.6, on random slow features of the other layers."""
    first = params["weight_0"]
    first[..., torch.arange(first.shape[-1]) >= 3 * SLOW] = 0
    for layer in list(field.linear_layers())[:-1]:
        nn.init.normal_(layer.weight, std=2 / math.sqrt(layer.in_features))
    *_, last = field.linear_layers()
    features: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0][0]))
    places = 2 * torch.rand(1, points, 3) - 1
    field.query(places, params)
    hook.remove()
    inside = torch.atanh((0.6 - places[0].norm(dim=-1)).clamp(-0.9, 0.9))  # (N,)
    known = torch.cat([features[0], torch.ones(points, 1)], 1)  # (N, hidden + 1)
    solution = torch.linalg.lstsq(known.double(), inside[:, None].double()).solution[:, 0].float()
    last.weight[0], last.bias[0] = solution[:-1], solution[-1]


def some_rays() -> Tensor:
    """Origins and directions (1, R, 2, 3) of rays of 20 views, z up."""
    rays = create_pan_cameras(64).camera_rays  # (1, 20 · 64², 2, 3)
    return rays[:, torch.randperm(rays.shape[1], generator=torch.Generator().manual_seed(0))[:RAYS]]


def theirs_of(renderer: ShapERenderer, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Coarse and fine colours (1, R, 3) of rays (1, R, 2, 3), z up."""
    render = ShapERenderer.render_rays.__wrapped__  # without its no_grad
    coarse, sampler, raw = render(renderer, rays, StratifiedRaySampler(), COARSE)
    assert isinstance(sampler, ImportanceRaySampler)
    fine, _, _ = render(renderer, rays, sampler, FINE, prev_model_out=raw)
    return coarse, fine


def their_loss():
    _, _, renderer = pair()
    rays = some_rays()
    truth = torch.rand(1, RAYS, 3)

    def step() -> None:
        renderer.mlp.zero_grad(set_to_none=True)
        coarse, fine = theirs_of(renderer, rays)
        ((coarse - truth).abs().mean() + (fine - truth).abs().mean()).backward()

    return step


def our_loss(bfloat16: bool = False):
    """A step on those of the rays that meet the box: a loader draws no others, whose colour is known."""
    products_of_trainings()
    field, params, _ = pair()
    params = {name: value.requires_grad_() for name, value in params.items()}
    rays = to_y_up(some_rays())
    near, far = Rays(*rays.unbind(-2)).box_interval()
    origins, directions = rays[:, (far > near)[0]].unbind(-2)
    batch = {"ray_origins": origins, "ray_directions": directions, "ray_rgba": torch.rand(*origins.shape[:2], 4)}
    loss = AutoencoderLoss(distance=0, occupancy=0, color=0, view=1.0, opacity=1.0, coarse_samples=COARSE,
                           fine_samples=FINE)  # fmt: skip

    def step() -> None:
        for value in [*params.values(), *field.parameters()]:
            value.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            terms = loss.terms(field, params, batch, StepRandomness(0, 0, [0], 1))
        (terms["view"] + terms["opacity"]).backward()

    return step


def their_mesh():
    _, _, renderer = pair(fitted=True)
    return torch.no_grad()(lambda: renderer.decode_to_mesh(torch.zeros(1, 1, 1), "cpu", GRID))


def our_mesh():
    products_of_trainings()
    field, params, _ = pair(fitted=True)

    def query(name: str):
        return lambda points: field.query(points[None], params)[name][0]

    return torch.no_grad()(lambda: extract_mesh(query("sdf"), query("rgb"), GRID))


NERF: dict[str, Side] = {
    "diffusers": their_loss,
    "ours, float32": our_loss,
    "ours, bfloat16": partial(our_loss, bfloat16=True),
}
MESH: dict[str, Side] = {"diffusers": their_mesh, "ours": our_mesh}


@torch.no_grad()
def check_radiance() -> None:
    """Both sides' rays have the same colours, but for what their samples differ in."""
    field, params, renderer = pair()
    rays = some_rays()
    origins, directions = to_y_up(rays).unbind(-2)
    fine, _ = render_levels(radiance_query(field, params), origins, directions, COARSE, FINE, None)
    rays = some_rays()
    theirs = theirs_of(renderer, rays)[1]
    assert theirs.std() > 0.05, "nothing is seen, nothing is compared"
    assert (fine.rgb - theirs).abs().mean() < 0.1 * theirs.std(), (fine.rgb - theirs).abs().mean()


def check_mesh() -> None:
    """Both meshes are one ball. diffusers' stretches GRID points and a border to the box: its is smaller by that."""
    ours, theirs = our_mesh()(), their_mesh()()
    volume = _volume(torch.as_tensor(ours.vertices), torch.as_tensor(ours.faces))
    their_volume = _volume(theirs.verts * (GRID + 1) / (GRID - 1), theirs.faces)
    assert math.isclose(abs(volume), 4 / 3 * math.pi * 0.6**3, rel_tol=0.1), volume
    assert math.isclose(abs(volume), abs(their_volume), rel_tol=0.01), (volume, their_volume)


def _volume(vertices: Tensor, faces: Tensor) -> float:
    a, b, c = vertices[faces.long()].double().unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)
