"""From latents or surfaces to things one can look at: fields, meshes, views. Sampling adds the road from a condition.

Training pictures, `sample.py` and `evaluate.py` all go through here, so that they show the same.
Axis letters: B shapes, V views, H/W pixels, T latent tokens, C latent channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.sampling import Sampling
from fieldforge.fields.base import Field, Params
from fieldforge.geometry.camera import Camera
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.rendering.volume import render_views


@dataclass(frozen=True)
class Shapes:
    """Fields of B shapes: what generated parameters mean together with the field that reads them."""

    field: Field
    params: Params  # name → (B, rows, width)

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    def __getitem__(self, index: int) -> Shapes:
        return Shapes(self.field, {name: value[index : index + 1] for name, value in self.params.items()})

    @property
    def device(self) -> torch.device:
        return next(iter(self.params.values())).device

    @torch.no_grad()
    def sdf(self, points: Tensor, chunk: int = 2**17) -> Tensor:
        """Signed distances (B, N) at points (B, N, 3)."""
        parts = points.split(max(1, chunk // len(self)), dim=1)
        return torch.cat([self.field.query(part, self.params).sdf.float() for part in parts], dim=1)

    @torch.no_grad()
    def mesh(self, index: int = 0, resolution: int = 128) -> ColoredMesh:
        """Coloured isosurface of one shape, on a grid of resolution³ cells."""
        one = self[index]
        return extract_mesh(
            lambda points: one.field.query(points[None], one.params).sdf[0],
            lambda points: one.field.query(points[None], one.params).rgb[0],
            resolution,
            device=self.device,
        )

    @torch.no_grad()
    def views(self, poses: Tensor, fov_y: float, size: int, samples: int = 48) -> Tensor:
        """Volume-rendered pictures (B, H, W, 4), premultiplied sRGB and opacity, one for each pose (B, 4, 4)."""
        camera = Camera(poses.to(self.device), fov_y, size, size)
        return render_views(lambda points: self.field.query(points, self.params), camera, samples, samples)


@torch.no_grad()
def decode(autoencoder: Autoencoder, latents: Tensor) -> Shapes:
    """Latents (B, T, C) → shapes, in float32."""
    return Shapes(autoencoder.field, {name: value.float() for name, value in autoencoder.decode(latents).items()})


@torch.no_grad()
def reconstruct(autoencoder: Autoencoder, surface: Tensor) -> Shapes:
    """surface (B, N, 9) → the autoencoder's shapes, through the latents that the diffusion sees."""
    return decode(autoencoder, autoencoder.encode(surface))


@dataclass(frozen=True)
class Sampler:
    """Everything between a condition and a latent.

    Args:
        model: the denoiser.
        conditioner: turns prompts or classes into conditions.
        sampling: sampler with its times.
        guidance: scale → guidance.
        latent_shape: (T, C).
    """

    model: DiffusionModel
    conditioner: Conditioner
    sampling: Sampling
    guidance: Callable[[float], Guidance]
    latent_shape: tuple[int, int]

    @property
    def keys(self) -> set[str]:
        """What the model can be asked with: "caption", "class", …"""
        return {self.conditioner.sources[name].key for name in self.conditioner.names}

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Sequence[str]], seeds: Sequence[int], scale: float) -> Tensor:
        """Latents (B, T, C), one for each seed.

        With a deterministic sampler a row depends on its seed and condition alone; a stochastic one draws for the whole
        batch, beginning at the first seed.

        Args:
            batch: what the conditioner's sources read, for example {"caption": [B texts]}; sources whose key is absent
                are dropped, so {} is unconditional.
            seeds: B whole numbers.
            scale: of the guidance; 1 = conditional without guidance, 0 = unconditional.
        """
        count = len(seeds)
        sources = [name for name in self.conditioner.names if self.conditioner.sources[name].key in batch]
        features: dict[str, Features] = self.conditioner.embed(batch, sources) if sources else {}
        condition: Condition = self.conditioner(features, batch_size=count)
        null = self.conditioner.null(count)
        device = next(self.model.parameters()).device
        rows = [torch.randn(self.latent_shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        noise = torch.stack(rows).to(device)  # (B, T, C)
        denoise = self.model.guided(self.guidance(scale), condition, null)
        steps = torch.Generator(device).manual_seed(seeds[0])
        return self.sampling(denoise, noise, self.model.process, steps)
