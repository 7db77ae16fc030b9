"""A mesh with a texture that is baked from the colours of a field."""

import io
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.field_colors import ColorQuery, query_colors
from fieldforge.geometry.mesh import sample_texture
from fieldforge.geometry.texture_atlas import texels, unwrap


@dataclass(frozen=True)
class TexturedMesh(ColoredMesh):
    """A mesh whose colour is a texture's: corner_uv (F, 3, 2) float32 in 0…1, v up; texture (S, S, 3) uint8 sRGB.

    Faces share vertices across the seams of the texture, so that a closed mesh stays closed. The colours of vertices
    are there as well, for files that know no textures.
    """

    corner_uv: NDArray[np.float32]
    texture: NDArray[np.uint8]

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.corner_uv.shape == (len(self.faces), 3, 2), f"corner_uv {self.corner_uv.shape}"
        assert self.texture.dtype == np.uint8
        assert self.texture.shape == (*self.texture.shape[:1] * 2, 3), f"texture {self.texture.shape}"

    def color_at(self, faces: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.float32]:
        uv = np.einsum("nc,ncd->nd", weights, self.corner_uv[faces])
        return sample_texture(self.texture, uv, ("clamp", "clamp"))

    def split_at_seams(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """For one texture coordinate a vertex: numbers of ours (Q,), their coordinates (Q, 2), and faces (F, 3)."""
        vertex, uv = self.faces.reshape(-1), self.corner_uv.reshape(-1, 2)
        corners = np.concatenate([vertex[:, None], uv.view(np.int32)], axis=1)  # bits sort faster than records
        _, first, number = np.unique(corners, axis=0, return_index=True, return_inverse=True)
        return vertex[first], uv[first], number.reshape(-1, 3)

    def png(self) -> bytes:
        """The texture as a PNG file."""
        file = io.BytesIO()
        Image.fromarray(self.texture).save(file, "PNG", optimize=True)
        return file.getvalue()


def bake(mesh: ColoredMesh, query_rgb: ColorQuery, size: int, device: torch.device | str = "cpu") -> TexturedMesh:
    """The mesh with a size × size texture: every texel has the field's colour at the point that it shows."""
    corner_uv = unwrap(mesh.vertices, mesh.faces, size)
    shown = texels(corner_uv, size)
    points = np.einsum("nc,ncd->nd", shown.weights, mesh.vertices[mesh.faces[shown.faces]])  # (N, 3)
    colors = np.round(query_colors(query_rgb, points, device) * 255).astype(np.uint8)
    parts = {field.name: getattr(mesh, field.name) for field in fields(ColoredMesh)}
    return TexturedMesh(**parts, corner_uv=corner_uv, texture=colors[shown.nearest])
