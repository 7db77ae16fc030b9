"""The volume integral along rays through the box, differentiable in density and colour.

Axis letters: B batch, R rays, S samples along a ray, N = R·S points.
Sources: Mildenhall et al. 2020, "NeRF" (arXiv 2003.08934); Max 1995, "Optical models for direct volume rendering".
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.fields.radiance import Radiance, RadianceQuery
from fieldforge.geometry.camera import BOX, Camera, Rays
from fieldforge.noise.randomness import Randomness, uniform


@dataclass(frozen=True)
class RenderedRays:
    """rgb (B, R, 3) premultiplied by opacity (that is: over black), opacity (B, R) in 0…1, depth (B, R) along the ray.

    The depth is the expected distance of absorption, and fades to 0 below an opacity of 1 %.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor

    @property
    def transmittance(self) -> Tensor:
        """Transmittance (B, R) of the whole segment through the box."""
        return 1 - self.opacity


def render_rays(
    query: RadianceQuery,
    origins: Tensor,
    directions: Tensor,
    n_coarse: int,
    n_fine: int,
    randomness: Randomness | None,
) -> RenderedRays:
    """Integrate origins, directions (B, R, 3) through the box, with n_fine samples by the weights of n_coarse samples.

    Every point is queried once: the integral uses the coarse samples too. Gradients flow through density and colour,
    not through sample positions. With randomness samples are stratified, as for training; without it they lie at the
    middles of their intervals, and the result is deterministic.
    """
    return render_levels(query, origins, directions, n_coarse, n_fine, randomness)[0]


def render_levels(
    query: RadianceQuery,
    origins: Tensor,
    directions: Tensor,
    n_coarse: int,
    n_fine: int,
    randomness: Randomness | None,
) -> tuple[RenderedRays, RenderedRays | None]:
    """As `render_rays`, and beside it the integral of the coarse samples alone, where the field has that apart.

    Both levels answer at the coarse samples from one query, which Shap-E asks twice (its `separate_shared_samples`).
    """
    near, far = Rays(origins, directions).box_interval()  # (B, R)
    distances = stratified_distances(near, far, n_coarse, randomness)  # (B, R, S)
    fine, coarse = _query_along(query, origins, directions, distances)
    first = None if coarse is None else composite(*coarse, distances, near, far)
    density, rgb = fine
    if n_fine > 0:
        with torch.no_grad():
            placing = density if coarse is None else coarse.density
            weights = integration_weights(placing, interval_lengths(distances, near, far))
            finer = importance_distances(interval_edges(distances, near, far), weights, n_fine, randomness)
        more, _ = _query_along(query, origins, directions, finer)
        distances = torch.cat([distances, finer], dim=-1)
        density, rgb = torch.cat([density, more.density], dim=-1), torch.cat([rgb, more.rgb], dim=-2)
    return composite(density, rgb, distances, near, far), first


def composite(density: Tensor, rgb: Tensor, distances: Tensor, near: Tensor, far: Tensor) -> RenderedRays:
    """NeRF eq. 3 for density and distances (B, R, S) in any order, rgb (B, R, S, 3), near and far (B, R)."""
    distances, order = distances.sort(dim=-1)
    depths = interval_lengths(distances, near, far) * density.gather(-1, order)  # optical, (B, R, S)
    weights = _weights_of_optical_depths(depths)
    opacity = -torch.expm1(-depths.sum(dim=-1))
    # Scattering the weights back is cheaper than sorting colours.
    unsorted = torch.zeros_like(weights).scatter(-1, order, weights)
    with torch.autocast(density.device.type, enabled=False):
        color = (unsorted.unsqueeze(-2) @ rgb.to(unsorted.dtype)).squeeze(-2)  # (B, R, 3)
    depth = (weights * distances).sum(dim=-1) / opacity.clamp_min(0.01)
    return RenderedRays(color, opacity, depth)


def integration_weights(density: Tensor, lengths: Tensor) -> Tensor:
    """Share of the light absorbed in each interval, T_i (1 − exp(−σ_i δ_i)) (NeRF eq. 3), from sorted (..., S)."""
    return _weights_of_optical_depths(density * lengths)


def _weights_of_optical_depths(depths: Tensor) -> Tensor:
    transmittance = torch.exp(depths - depths.cumsum(dim=-1))  # up to the start of each interval
    return -torch.expm1(-depths) * transmittance


def interval_edges(distances: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """Edges (..., S + 1) of the intervals around sorted samples (..., S): halfway between neighbours.

    The lengths add up to the whole segment near…far through the box, so that a homogeneous medium is integrated
    exactly.
    """
    middles = (distances[..., 1:] + distances[..., :-1]) / 2
    return torch.cat([near.unsqueeze(-1), middles, far.unsqueeze(-1)], dim=-1)


def interval_lengths(distances: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """δ (..., S) of sorted samples, see `interval_edges`."""
    return interval_edges(distances, near, far).diff(dim=-1)


def stratified_distances(near: Tensor, far: Tensor, samples: int, randomness: Randomness | None) -> Tensor:
    """One sample (B, R, S) in each of S equal intervals of near…far (NeRF eq. 2); without randomness their middles."""
    places = _stratified_quantiles((*near.shape, samples), near, randomness)
    return near.unsqueeze(-1) + (far - near).unsqueeze(-1) * places


def importance_distances(edges: Tensor, weights: Tensor, samples: int, randomness: Randomness | None) -> Tensor:
    """Samples (..., samples), sorted, distributed as the histogram of weights (..., S) between edges (..., S + 1).

    Hierarchical sampling (NeRF section 5.2, eq. 5) with stratified quantiles. One part in a hundred is spread evenly
    over the intervals, so that every part of a ray, also of a ray through empty space, gets samples.
    """
    stretches = weights.shape[-1]
    weights = weights + 0.01 * weights.sum(dim=-1, keepdim=True) / stretches + 1e-6
    cumulative = weights.cumsum(dim=-1)
    cumulative = cumulative / cumulative[..., -1:]  # (..., S), ends in exactly 1
    quantiles = _stratified_quantiles((*weights.shape[:-1], samples), weights, randomness)
    stretch = torch.searchsorted(cumulative, quantiles, right=True).clamp_max(stretches - 1)
    starts = torch.cat([torch.zeros_like(cumulative[..., :1]), cumulative[..., :-1]], dim=-1)
    low, high = starts.gather(-1, stretch), cumulative.gather(-1, stretch)
    left, right = edges.gather(-1, stretch), edges.gather(-1, stretch + 1)
    return left + (right - left) * ((quantiles - low) / (high - low)).clamp(0, 1)


def _stratified_quantiles(shape: tuple[int, ...], like: Tensor, randomness: Randomness | None) -> Tensor:
    steps = torch.arange(shape[-1], device=like.device, dtype=torch.float32)
    if randomness is None:
        return ((steps + 0.5) / shape[-1]).expand(shape).contiguous()
    return (steps + uniform(shape, randomness).to(like.device)) / shape[-1]


def _query_along(
    query: RadianceQuery, origins: Tensor, directions: Tensor, distances: Tensor
) -> tuple[Radiance, Radiance | None]:
    """Fine and coarse radiance, density (B, R, S) and rgb (B, R, S, 3), at distances (B, R, S) along the rays."""
    batch, rays, samples = distances.shape
    points = origins.unsqueeze(-2) + directions.unsqueeze(-2) * distances.unsqueeze(-1)  # (B, R, S, 3)
    # Rays that miss the box have samples of no length at their origin: the field is never asked outside of its box.
    points = points.clamp(-BOX, BOX).reshape(batch, rays * samples, 3)
    along = directions.unsqueeze(-2).expand(batch, rays, samples, 3).reshape(batch, rays * samples, 3)
    fine, coarse = query(points, along)

    def shaped(radiance: Radiance) -> Radiance:
        density, rgb = radiance
        return Radiance(density.float().reshape(batch, rays, samples), rgb.reshape(batch, rays, samples, 3))

    return shaped(fine), None if coarse is None else shaped(coarse)


@torch.no_grad()
def render_views(
    query: RadianceQuery, camera: Camera, n_coarse: int, n_fine: int, points_at_once: int = 2**16
) -> Tensor:
    """Pictures (B, H, W, 4): rgb premultiplied, opacity. The camera has one pose for each of the B fields, (B, 4, 4).

    Deterministic. Rays that miss the box in all pictures are left out; the others go in chunks of points_at_once
    points, which keeps temporaries inside the cache.
    """
    rays = camera.rays()  # (B, H, W, 3)
    batch = rays.origins.shape[0]
    origins, directions = rays.origins.reshape(batch, -1, 3), rays.directions.reshape(batch, -1, 3)
    near, far = Rays(origins, directions).box_interval()
    hits = (far > near).any(dim=0).nonzero().squeeze(-1)
    pictures = torch.zeros(batch, origins.shape[1], 4, device=origins.device)
    for chunk in hits.split(max(1, points_at_once // (batch * max(n_coarse, n_fine)))):
        pixels = render_rays(query, origins[:, chunk], directions[:, chunk], n_coarse, n_fine, None)
        pictures[:, chunk] = torch.cat([pixels.rgb, pixels.opacity.unsqueeze(-1)], dim=-1)
    return pictures.reshape(batch, camera.height, camera.width, 4)
