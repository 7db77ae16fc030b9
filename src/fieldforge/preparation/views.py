"""Views of a mesh by ray casting: colour, opacity and depth, with one ray through each pixel centre."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fieldforge.geometry.camera import Camera, framing_distance
from fieldforge.geometry.mesh import INVISIBLE, Mesh
from fieldforge.preparation.distance import Caster
from fieldforge.rendering.mesh_views import Light

LAYERS = 6
"""How many surfaces one behind the other are looked at through translucent ones."""

MAX_HITS = 64
"""How many surfaces a ray passes at most, with those that are not seen."""

KEY_LIGHT = np.array([0.35, 0.8, 0.5]) / np.linalg.norm([0.35, 0.8, 0.5])


@dataclass(frozen=True)
class View:
    """rgba uint8 (H, W, 4), straight alpha; depth float32 (H, W) along the ray, 0 = no hit; camera_to_world (4, 4)."""

    rgba: np.ndarray
    depth: np.ndarray
    camera_to_world: np.ndarray


def camera_distance(mesh: Mesh, fov_y: float) -> float:
    """Camera distance at which the mesh, centred at the origin, is in view from every side, with 5 % margin."""
    return 1.05 * framing_distance(fov_y, float(np.linalg.norm(mesh.triangles, axis=-1).max()))


def render_view(
    caster: Caster, pose: Tensor, size: int, fov_y: float, shading: float, light: Light | None = None
) -> View:
    """One view of size x size pixels from a pose (4, 4), camera to world.

    Colours are surface colours, darkened by `shading` where the surface turns away from a fixed light: 0 = unlit (for a
    field without view or light dependence), 1 = fully shaded; a `light` takes the place of that one. Translucent
    surfaces are blended front to back; depth is that of the first surface, translucent or not.
    """
    rays = Camera(pose.double(), fov_y, size, size).rays()
    origin, directions = rays.origins[0, 0].numpy(), rays.directions.reshape(-1, 3).numpy()  # (3,), (R, 3)
    count = len(directions)
    color, depth = np.zeros((count, 3)), np.zeros(count)
    transmitted = np.ones(count)
    start = np.zeros(count)  # where on the ray the next surface is looked for
    alive = np.arange(count)
    layers = np.zeros(count, np.int64)  # surfaces seen so far
    for _ in range(MAX_HITS):
        parameter, face, weights = caster.hit(origin + start[alive, None] * directions[alive], directions[alive])
        hits = np.isfinite(parameter)
        alive, face, weights = alive[hits], face[hits], weights[hits]
        if len(alive) == 0:
            break
        reached = start[alive] + parameter[hits]
        surface = caster.mesh.color_at(face, weights).astype(np.float64)  # (n, 4)
        lit = shaded(surface[:, :3], caster.mesh.face_normals[face], directions[alive], shading, light)
        color[alive] += (transmitted[alive] * surface[:, 3])[:, None] * lit
        transmitted[alive] *= 1 - surface[:, 3]
        visible = surface[:, 3] >= INVISIBLE
        layers[alive] += visible
        first = (depth[alive] == 0) & visible
        depth[alive[first]] = reached[first]
        start[alive] = reached + 1e-4
        alive = alive[(transmitted[alive] > 0.02) & (layers[alive] < LAYERS)]
    alpha = 1 - transmitted
    straight = color / np.maximum(alpha, 1e-6)[:, None]
    rgba = np.concatenate([straight, alpha[:, None]], axis=1)
    pixels = np.round(np.clip(rgba, 0, 1) * 255).astype(np.uint8).reshape(size, size, 4)
    return View(pixels, depth.astype(np.float32).reshape(size, size), pose.float().numpy())


def shaded(
    colors: np.ndarray, normals: np.ndarray, directions: np.ndarray, shading: float, light: Light | None
) -> np.ndarray:
    """Colours (N, 3) of surfaces with these normals (N, 3), seen along directions (N, 3); see `render_view`."""
    if light is not None:
        return light.shade(torch.from_numpy(colors), torch.from_numpy(normals).double()).numpy()
    return colors * brightness(normals, directions, shading)[:, None]


def brightness(normals: np.ndarray, directions: np.ndarray, shading: float) -> np.ndarray:
    """(N,) factor of a two-sided diffuse surface: normals (N, 3) turned to the viewer, light from above right."""
    facing = normals * -np.sign(np.einsum("nd,nd->n", normals, directions))[:, None]
    diffuse = 0.55 + 0.45 * facing @ KEY_LIGHT
    return 1 - shading * (1 - diffuse)
