"""Triangle meshes with their appearance: materials, textures, coordinates and colours per face corner."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from fieldforge.geometry.color import linear_to_srgb, srgb_to_linear

Wrap = Literal["repeat", "clamp", "mirror"]
"""What of a picture lies beyond its border: the picture again, its edge, or its mirror image."""


INVISIBLE = 0.02
"""What has less opacity is not seen: no view shows it, no point of a surface lies there."""


@dataclass(frozen=True)
class Material:
    """Material of a face: a plain colour and a texture.

    `color` (4,) sRGB + alpha in 0…1, used without a texture or texture coordinate. `texture` uint8 (H, W, 4), sRGB +
    alpha, replaces the colour and is multiplied by `tint` (4,). `wrap` is its wrapping mode for u and v; without
    `smooth` texels have sharp edges. With `linear`, `tint` and the corner colours of the faces are linear light, and
    products are taken in linear light. With `cutoff` a point is opaque where its alpha reaches `cutoff` and invisible
    elsewhere (0: opaque everywhere).
    """

    color: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 1.0)
    texture: np.ndarray | None = None
    tint: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")
    linear: bool = False
    cutoff: float | None = None
    smooth: bool = True

    def __post_init__(self) -> None:
        assert self.texture is None or (self.texture.ndim == 3 and self.texture.shape[2] == 4), "texture is (H, W, 4)"


@dataclass(frozen=True)
class Mesh:
    """A mesh of P vertices and F triangles. Appearance belongs to faces and their corners, so that seams stay sharp.

    vertices (P, 3) float64; faces (F, 3) int64; face_material (F,) indices into `materials`; corner_uv (F, 3, 2)
    float32 with v up, NaN where there is none; corner_colors (F, 3, 4) float32 in 0…1, multiplied with the material.
    """

    vertices: np.ndarray
    faces: np.ndarray
    materials: tuple[Material, ...] = (Material(),)
    face_material: np.ndarray | None = None
    corner_uv: np.ndarray | None = None
    corner_colors: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.faces)
        assert self.vertices.shape[1:] == (3,), f"vertices are (P, 3), got {self.vertices.shape}"
        assert self.faces.shape[1:] == (3,), f"faces are (F, 3), got {self.faces.shape}"
        assert self.face_material is None or self.face_material.shape == (count,)
        assert self.corner_uv is None or self.corner_uv.shape == (count, 3, 2)
        assert self.corner_colors is None or self.corner_colors.shape == (count, 3, 4)

    @cached_property
    def triangles(self) -> np.ndarray:
        """(F, 3 corners, 3)."""
        return self.vertices[self.faces]

    @cached_property
    def _area_vectors(self) -> np.ndarray:
        a, b, c = self.triangles.swapaxes(0, 1)  # each (F, 3)
        return np.cross(b - a, c - a) / 2

    @cached_property
    def face_areas(self) -> np.ndarray:
        """(F,)."""
        return np.linalg.norm(self._area_vectors, axis=1)

    @cached_property
    def face_normals(self) -> np.ndarray:
        """(F, 3) unit, by the right-hand rule; zero for faces without area."""
        return self._area_vectors / np.maximum(self.face_areas, 1e-300)[:, None]

    @cached_property
    def bounds(self) -> np.ndarray:
        """(2, 3) lowest and highest corner over the vertices that faces use."""
        corners = self.triangles.reshape(-1, 3)
        return np.stack([corners.min(axis=0), corners.max(axis=0)])

    def with_vertices(self, vertices: np.ndarray) -> "Mesh":
        """The same faces and appearance on moved vertices (P, 3)."""
        assert vertices.shape == self.vertices.shape
        return replace(self, vertices=vertices)

    def select_faces(self, chosen: np.ndarray) -> "Mesh":
        """Keeps faces by boolean mask or index array; vertices stay as they are."""
        return replace(
            self,
            faces=self.faces[chosen],
            face_material=None if self.face_material is None else self.face_material[chosen],
            corner_uv=None if self.corner_uv is None else self.corner_uv[chosen],
            corner_colors=None if self.corner_colors is None else self.corner_colors[chosen],
        )

    def face_alpha(self) -> np.ndarray:
        """(F,) opacity of each face without its texture: material times the mean of its corner colours."""
        material_of = np.zeros(len(self.faces), np.int64) if self.face_material is None else self.face_material
        alpha = np.array([material.color[3] for material in self.materials])[material_of]
        if self.corner_colors is not None:
            alpha = alpha * self.corner_colors[..., 3].mean(axis=1)
        return self._cut(alpha, material_of)

    def _cut(self, alpha: np.ndarray, material_of: np.ndarray) -> np.ndarray:
        """Opacity (N,) of points on materials (N,) after their cutoffs."""
        cutoff = np.array([np.nan if material.cutoff is None else material.cutoff for material in self.materials])
        return np.where(np.isnan(cutoff[material_of]), alpha, alpha >= cutoff[material_of] - 1e-6)

    def color_at(self, faces: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """sRGB + alpha (N, 4) float32 in 0…1 at points on faces (N,) with barycentric weights (N, 3)."""
        base = np.array([material.color for material in self.materials], np.float32)
        material_of = np.zeros(len(faces), np.int64) if self.face_material is None else self.face_material[faces]
        color = base[material_of]  # (N, 4)
        factor = np.ones_like(color)
        if self.corner_uv is not None:
            uv = np.einsum("nc,ncd->nd", barycentric, self.corner_uv[faces])  # (N, 2)
            has_uv = np.isfinite(uv).all(axis=1)
            for index in np.unique(material_of):
                material = self.materials[index]
                if material.texture is not None:
                    chosen = np.flatnonzero((material_of == index) & has_uv)
                    color[chosen] = sample_texture(material.texture, uv[chosen], material.wrap, material.smooth)
                    factor[chosen] = material.tint
        if self.corner_colors is not None:
            factor = factor * np.einsum("nc,ncd->nd", barycentric, self.corner_colors[faces])
        linear = np.array([material.linear for material in self.materials])[material_of]
        in_light = np.flatnonzero(linear & (factor[:, :3] != 1).any(axis=1))
        product = color * factor
        product[in_light, :3] = linear_to_srgb(srgb_to_linear(color[in_light, :3]) * factor[in_light, :3])
        product[:, 3] = self._cut(product[:, 3], material_of)
        return product.astype(np.float32)


def sample_texture(
    texture: np.ndarray, uv: np.ndarray, wrap: tuple[Wrap, Wrap] = ("repeat", "repeat"), smooth: bool = True
) -> np.ndarray:
    """Bilinear look-up (nearest texel without `smooth`), v up: texture uint8 (H, W, 4) at uv (N, 2) → (N, 4) 0…1.

    float32. The centre of the lowest left texel is at uv = (0.5 / W, 0.5 / H).
    """
    height, width = texture.shape[:2]
    x = _wrapped(uv[:, 0], wrap[0]) * width - 0.5
    y = (1 - _wrapped(uv[:, 1], wrap[1])) * height - 0.5
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, low = (x - column).astype(np.float32)[:, None], (y - row).astype(np.float32)[:, None]  # weights (N, 1)
    if not smooth:
        right, low = np.round(right), np.round(low)

    def texel(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        rows = rows % height if wrap[1] == "repeat" else np.clip(rows, 0, height - 1)
        columns = columns % width if wrap[0] == "repeat" else np.clip(columns, 0, width - 1)
        return texture[rows, columns].astype(np.float32)

    upper = texel(row, column) * (1 - right) + texel(row, column + 1) * right
    lower = texel(row + 1, column) * (1 - right) + texel(row + 1, column + 1) * right
    return (upper * (1 - low) + lower * low) / 255


def _wrapped(coordinate: np.ndarray, wrap: Wrap) -> np.ndarray:
    """(N,) in 0…1."""
    exact = coordinate.astype(np.float64)
    if wrap == "clamp":
        return np.clip(exact, 0, 1)
    if wrap == "mirror":
        return 1 - np.abs(1 - exact % 2)
    return exact - np.floor(coordinate)  # big coordinates stay exact


def concatenate(meshes: list[Mesh]) -> Mesh:
    """One mesh of many with each of their materials once; missing coordinates become NaN, missing colours white."""
    assert meshes, "nothing to concatenate"
    vertex_start = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    materials = {id(material): material for mesh in meshes for material in mesh.materials}
    place = {key: number for number, key in enumerate(materials)}
    counts = [len(mesh.faces) for mesh in meshes]

    def gather(parts: list[np.ndarray | None], missing: float, width: int) -> np.ndarray | None:
        if all(part is None for part in parts):
            return None
        filled = [
            np.full((count, 3, width), missing, np.float32) if part is None else part.astype(np.float32)
            for part, count in zip(parts, counts, strict=True)
        ]
        return np.concatenate(filled)

    return Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        faces=np.concatenate([mesh.faces + start for mesh, start in zip(meshes, vertex_start, strict=False)]),
        materials=tuple(materials.values()),
        face_material=np.concatenate(
            [
                np.array([place[id(material)] for material in mesh.materials])[
                    np.zeros(count, np.int64) if mesh.face_material is None else mesh.face_material
                ]
                for mesh, count in zip(meshes, counts, strict=True)
            ]
        ),
        corner_uv=gather([mesh.corner_uv for mesh in meshes], np.nan, 2),
        corner_colors=gather([mesh.corner_colors for mesh in meshes], 1.0, 4),
    )
