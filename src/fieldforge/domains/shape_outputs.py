"""Outputs of the shape domain: fields, meshes, views, and their files. B shapes, N points, H/W pixels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from fieldforge.domains.mesh_settings import MeshSettings
from fieldforge.fields.base import Field, Params
from fieldforge.fields.radiance import RadianceField, radiance_query
from fieldforge.geometry.camera import BOX, Camera, framing_distance, turntable_poses
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.finishing import finish
from fieldforge.geometry.glb_file import glb_bytes
from fieldforge.geometry.isosurface import extract_mesh
from fieldforge.geometry.mesh_files import write_mesh
from fieldforge.rendering.bitmaps import flatten, image_of, write_gif
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.turntable import write_turntable
from fieldforge.rendering.volume import render_views
from fieldforge.training.processes.side_files import side_file

log = logging.getLogger(__name__)
FOV_Y = 0.7  # radians, of turntables of the radiance
VIEW_SAMPLES = 48  # coarse ones along a ray of a volume rendering
MANY_FACES = 100_000  # more cost a turntable's small frames time without a visible difference


@dataclass(frozen=True)
class Shapes:
    """B shapes: a field with their parameters.

    resolution: cells along an axis of the isosurface grid.
    files: how meshes are written.
    """

    field: Field
    params: Params  # name → (B, rows, width)
    resolution: int = 128
    files: MeshSettings = field(default_factory=MeshSettings)

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    def __getitem__(self, index: int) -> Shapes:
        one = {name: value[index : index + 1] for name, value in self.params.items()}
        return replace(self, params=one)

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
            one.rgb,
            resolution or self.resolution,
            device=self.device,
        )

    @torch.no_grad()
    def rgb(self, points: Tensor) -> Tensor:
        """Colours (N, 3), sRGB 0…1, of one shape at points (N, 3), box units."""
        return self.field.query(points[None], self.params)["rgb"][0]

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
        """The mesh of one shape, extracted once for measures, picture, files and gallery."""
        return self.mesh()

    @cached_property
    def finished(self) -> ColoredMesh:
        """The mesh of one shape as its files have it; a warning where it keeps more faces than these ask for."""
        mesh, most = finish(self.surface, self.rgb, self.device, **self.files.finishing), self.files.faces
        if most is not None and len(mesh.faces) > most:
            log.warning("mesh.faces=%d: this shape cannot do with fewer than %d faces", most, len(mesh.faces))
        return mesh

    @property
    def is_empty(self) -> bool:
        return self.surface.is_empty

    def picture(self, size: int) -> Image.Image:
        """Shaded picture of the mesh of one shape, RGBA, size × size pixels."""
        return portrait(self.finished, size)

    def media(self) -> tuple[str, bytes] | None:
        """The mesh of one shape as GLB; None for an empty mesh."""
        return None if self.is_empty else ("model/gltf-binary", glb_bytes(self.finished))

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        """Write mesh and turntable (GIF) of one shape; None for an empty mesh or a file that was not written.

        A field with a radiance of its own, which an empty mesh may have too, gets a turntable of that (`radiance`).
        """
        files: dict[str, str | None] = {**dict.fromkeys(self.files.formats), "turntable": None}
        if isinstance(self.field, RadianceField):
            files["radiance"] = None
            with side_file(folder / f"{name}_radiance.gif"):
                write_gif(self.radiance_frames(), folder / f"{name}_radiance.gif", seconds=3.0)
                files["radiance"] = f"{name}_radiance.gif"
        if self.is_empty:
            return files
        for kind in self.files.formats:
            with side_file(folder / f"{name}.{kind}"):
                write_mesh(self.finished, folder / f"{name}.{kind}")
                files[kind] = f"{name}.{kind}"
        with side_file(folder / f"{name}.gif"):
            many = len(self.finished.faces) >= MANY_FACES
            write_turntable(self.mesh(0, self.resolution // 2) if many else self.finished, folder / f"{name}.gif")
            files["turntable"] = f"{name}.gif"
        return files
