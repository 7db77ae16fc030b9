"""Outputs of the shape domain: fields, meshes, views, and their files. B shapes, N points, H/W pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from fieldforge.fields.base import Field, Params
from fieldforge.fields.radiance import RadianceField, radiance_query
from fieldforge.geometry.camera import BOX, Camera, framing_distance, turntable_poses
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.geometry.mesh_files import glb_bytes, write_mesh
from fieldforge.rendering.bitmaps import flatten, image_of, write_gif
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.turntable import write_turntable
from fieldforge.rendering.volume import render_views
from fieldforge.training.processes.side_files import side_file

FOV_Y = 0.7  # radians, of turntables of the radiance
VIEW_SAMPLES = 48  # coarse ones along a ray of a volume rendering
MANY_FACES = 100_000  # more cost a turntable's small frames time without a visible difference


@dataclass(frozen=True)
class Shapes:
    """B shapes: a field with their parameters.

    resolution: cells along an axis of the isosurface grid.
    """

    field: Field
    params: Params  # name → (B, rows, width)
    resolution: int = 128

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    def __getitem__(self, index: int) -> Shapes:
        one = {name: value[index : index + 1] for name, value in self.params.items()}
        return Shapes(self.field, one, self.resolution)

    @property
    def device(self) -> torch.device:
        return next(iter(self.params.values())).device

    @torch.no_grad()
    def sdf(self, points: Tensor, chunk: int = 2**17) -> Tensor:
        """Signed distances (B, N) at points (B, N, 3), box units; `chunk`: points of one query, over all shapes."""
        parts = points.split(max(1, chunk // len(self)), dim=1)
        return torch.cat([self.field.query_head("sdf", part, self.params).float() for part in parts], dim=1)

    @torch.no_grad()
    def mesh(self, index: int = 0, resolution: int | None = None) -> ColoredMesh:
        """Coloured isosurface of shape `index`, on a grid of resolution³ cells; None: the own resolution."""
        one = self[index]
        return extract_mesh(
            lambda points: one.field.query_head("sdf", points[None], one.params)[0],
            lambda points: one.field.query(points[None], one.params)["rgb"][0],
            resolution or self.resolution,
            device=self.device,
        )

    @torch.no_grad()
    def views(self, poses: Tensor, fov_y: float, size: int, samples: int = VIEW_SAMPLES) -> Tensor:
        """Volume renderings (B, H, W, 4), premultiplied sRGB and opacity, H = W = `size`.

        Args:
            poses: camera to world (B, 4, 4), one for each shape.
            fov_y: vertical field of view in radians.
            size: pixels along a side.
            samples: coarse samples along a ray, and as many fine ones.
        """
        camera = Camera(poses.to(self.device), fov_y, size, size)
        return render_views(radiance_query(self.field, self.params), camera, samples, samples)

    def radiance_frames(self, frames: int = 12, size: int = 96) -> list[Image.Image]:
        """Volume renderings of one shape, RGB over white, that turn once about the vertical."""
        distance = framing_distance(FOV_Y, BOX * 3**0.5)
        poses = turntable_poses(frames, distance)
        return [flatten(image_of(self.views(pose[None], FOV_Y, size)[0])) for pose in poses]

    @cached_property
    def surface(self) -> ColoredMesh:
        """The mesh of one shape, extracted once for picture, files and gallery."""
        return self.mesh()

    @property
    def is_empty(self) -> bool:
        return self.surface.is_empty

    def picture(self, size: int) -> Image.Image:
        """Shaded picture of the mesh of one shape, RGBA, size × size pixels."""
        return portrait(self.surface, size)

    def media(self) -> tuple[str, bytes] | None:
        """The mesh of one shape as GLB; None for an empty mesh."""
        return None if self.is_empty else ("model/gltf-binary", glb_bytes(self.surface))

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        """Write GLB, PLY and turntable (GIF) of one shape; None for an empty mesh or a file that was not written.

        A field with a radiance of its own, which an empty mesh may have too, gets a turntable of that (`radiance`).
        """
        files: dict[str, str | None] = {"glb": None, "ply": None, "turntable": None}
        if isinstance(self.field, RadianceField):
            files["radiance"] = None
            with side_file(folder / f"{name}_radiance.gif"):
                write_gif(self.radiance_frames(), folder / f"{name}_radiance.gif", seconds=3.0)
                files["radiance"] = f"{name}_radiance.gif"
        if self.is_empty:
            return files
        for kind in ("glb", "ply"):
            with side_file(folder / f"{name}.{kind}"):
                write_mesh(self.surface, folder / f"{name}.{kind}")
                files[kind] = f"{name}.{kind}"
        with side_file(folder / f"{name}.gif"):
            many = len(self.surface.faces) >= MANY_FACES
            write_turntable(self.mesh(0, self.resolution // 2) if many else self.surface, folder / f"{name}.gif")
            files["turntable"] = f"{name}.gif"
        return files
