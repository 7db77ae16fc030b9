"""Materials of glTF as surface colours under plain light.

The surface colour is the base colour (the diffuse colour of specular-glossiness materials). Where the base colour is
black or undefined (no factor, no texture, no vertex colours), the emitted colour replaces it: otherwise shadeless
exports and screens would be black. Emission beyond 1 is scaled down to keep its hue. A specular-glossiness material
without diffuse colour is a metal: its surface colour is the specular colour.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from fieldforge.geometry.color import linear_to_srgb, srgb_to_linear
from fieldforge.geometry.mesh import Material, Wrap
from fieldforge.readers.file_store import Notes
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document, extension, numbers, whole_number
from fieldforge.readers.gltf.images import Images

WRAPS: dict[Any, Wrap] = {33071: "clamp", 33648: "mirror"}
NEAREST = 9728
DIELECTRIC = 0.04
"""What all reflects that is not metal. Darker diffuse colours count as black."""
PLAIN_UV = np.array([[1.0, 0, 0], [0, 1, 0]])


@dataclass(frozen=True)
class Look:
    """A material and its use of a part's attributes.

    `texcoord`: the set of coordinates of its texture, None without one. `uv` (2, 3): transform of these coordinates.
    `colored`: whether vertex colours multiply it.
    """

    material: Material
    texcoord: int | None = None
    uv: np.ndarray = field(default_factory=lambda: PLAIN_UV)
    colored: bool = True


@dataclass(frozen=True)
class _Texture:
    pixels: np.ndarray  # uint8 (H, W, 4)
    wrap: tuple[Wrap, Wrap]
    smooth: bool
    texcoord: int
    uv: np.ndarray  # (2, 3)


class Materials:
    """Looks of a document's materials. Textures are unpacked once; missing ones are noted."""

    def __init__(self, document: Document, notes: Notes) -> None:
        self._document, self._images = document, Images(document, notes)
        self._looks: dict[tuple[Any, bool], Look] = {}

    def look(self, index: Any, has_colors: bool) -> Look:
        """Look of a material (None: the default, white) on a part with or without vertex colours."""
        key = (index, has_colors)
        if key not in self._looks:
            self._looks[key] = self._look({} if index is None else self._document.item("materials", index), has_colors)
        return self._looks[key]

    def _look(self, material: Json, has_colors: bool) -> Look:
        factor, texture, colored = self._paint(material, has_colors)
        red, green, blue = (float(value) for value in linear_to_srgb(factor[:3]))
        tint = (float(factor[0]), float(factor[1]), float(factor[2]), float(factor[3]))
        plain = Material((red, green, blue, tint[3]), None, tint, linear=True, cutoff=_cutoff(material))
        if texture is None:
            return Look(plain, colored=colored)
        textured = replace(plain, texture=texture.pixels, wrap=texture.wrap, smooth=texture.smooth)
        return Look(textured, texture.texcoord, texture.uv, colored)

    def _paint(self, material: Json, has_colors: bool) -> tuple[np.ndarray, _Texture | None, bool]:
        """Linear factor (4,), the texture that it multiplies, and whether vertex colours do."""
        diffuse = extension(material, "KHR_materials_pbrSpecularGlossiness")
        metallic = material.get("pbrMetallicRoughness", {})
        base, prefix = (metallic, "baseColor") if diffuse is None else (diffuse, "diffuse")
        factor = np.clip(numbers(base, f"{prefix}Factor", (1.0, 1, 1, 1)), 0, 1)
        texture = self._texture(base.get(f"{prefix}Texture"))
        black = not factor[:3].any() or (texture is not None and not texture.pixels[..., :3].any())
        unsaid = not has_colors and f"{prefix}Factor" not in base and f"{prefix}Texture" not in base
        emitted = _emission(material)
        if (black or unsaid) and emitted.any():
            return np.append(emitted, factor[3]), self._texture(material.get("emissiveTexture"), opaque=True), False
        return (factor, texture, True) if diffuse is None else (*self._with_metal(diffuse, factor, texture), True)

    def _with_metal(
        self, diffuse: Json, factor: np.ndarray, texture: _Texture | None
    ) -> tuple[np.ndarray, _Texture | None]:
        """Factor and texture of a specular-glossiness material, with its reflection where it has no diffuse colour."""
        if "specularFactor" not in diffuse and "specularGlossinessTexture" not in diffuse:
            return factor, texture
        specular = np.clip(numbers(diffuse, "specularFactor", (1.0, 1, 1)), 0, 1)
        reflected = self._texture(diffuse.get("specularGlossinessTexture"), opaque=True)
        if not factor[:3].any() or (texture is not None and not texture.pixels[..., :3].any()):
            return (np.append(specular, factor[3]), reflected) if specular.max() > DIELECTRIC else (factor, texture)
        if texture is None or reflected is None or not _same_place(texture, reflected):
            return factor, texture
        pixels = fill_black(texture.pixels, factor[:3], reflected.pixels, specular)
        return np.array([1, 1, 1, factor[3]]), replace(texture, pixels=pixels)

    def _texture(self, info: Any, opaque: bool = False) -> _Texture | None:
        """The texture that a material names; None if it names none or it cannot be had, which is noted."""
        if not isinstance(info, dict):
            return None
        texture = self._document.item("textures", info.get("index"))
        pixels = self._images.pixels(texture)
        if pixels is None:
            return None
        if opaque and (pixels[..., 3] < 255).any():
            pixels = np.concatenate([pixels[..., :3], np.full_like(pixels[..., 3:], 255)], axis=2)
        sampler = self._document.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        wrap = (WRAPS.get(sampler.get("wrapS"), "repeat"), WRAPS.get(sampler.get("wrapT"), "repeat"))
        transform = extension(info, "KHR_texture_transform") or {}
        texcoord = whole_number(transform, "texCoord", whole_number(info, "texCoord", 0))
        return _Texture(pixels, wrap, sampler.get("magFilter") != NEAREST, texcoord, uv_matrix(transform))


def uv_matrix(transform: Json) -> np.ndarray:
    """(2, 3) of a KHR_texture_transform: scaled, turned (counter-clockwise as v points down), then moved.

    The listing in the specification turns the other way; its example, the sample models and the viewers turn so
    (github.com/KhronosGroup/glTF/issues/1563).
    """
    offset, scale = numbers(transform, "offset", (0.0, 0)), numbers(transform, "scale", (1.0, 1))
    (angle,) = numbers({"rotation": [transform.get("rotation", 0.0)]}, "rotation", (0.0,))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.concatenate([turn * scale, offset[:, None]], axis=1)


def _cutoff(material: Json) -> float | None:
    mode = material.get("alphaMode", "OPAQUE")
    if mode == "MASK":
        return float(numbers({"alphaCutoff": [material.get("alphaCutoff", 0.5)]}, "alphaCutoff", (0.5,))[0])
    return None if mode == "BLEND" else 0.0


def fill_black(pixels: np.ndarray, factor: np.ndarray, other: np.ndarray, other_factor: np.ndarray) -> np.ndarray:
    """Texture (H, W, 4) × factor (3,), filled by another one × its factor where it is black and the other is not."""
    size = (pixels.shape[1], pixels.shape[0])
    second = np.asarray(Image.fromarray(other[..., :3]).resize(size, Image.Resampling.BILINEAR))
    light = srgb_to_linear(pixels[..., :3] / 255) * factor
    filling = srgb_to_linear(second / 255) * other_factor
    share = np.clip(1 - light.max(axis=2, keepdims=True) / DIELECTRIC, 0, 1)
    share = np.where(filling.max(axis=2, keepdims=True) > DIELECTRIC, share, 0)
    colors = np.round(linear_to_srgb(light + share * (filling - light)) * 255).astype(np.uint8)
    return np.concatenate([colors, pixels[..., 3:]], axis=2)


def _same_place(a: _Texture, b: _Texture) -> bool:
    return a.texcoord == b.texcoord and np.array_equal(a.uv, b.uv)


def _emission(material: Json) -> np.ndarray:
    """Linear colour (3,) that a material emits, its texture aside."""
    emitted = np.maximum(numbers(material, "emissiveFactor", (0.0, 0, 0)), 0)
    strength = extension(material, "KHR_materials_emissive_strength") or {}
    emitted = emitted * numbers({"strength": [strength.get("emissiveStrength", 1.0)]}, "strength", (1.0,))
    return emitted / max(float(emitted.max()), 1.0)
