"""Materials of Wavefront MTL files."""

from dataclasses import dataclass, field, replace

import numpy as np

from fieldforge.geometry.color import linear_to_srgb
from fieldforge.geometry.mesh import Material, Wrap
from fieldforge.readers.file_store import FileStore, Notes, decode_text
from fieldforge.readers.mtl_texture import TexturePlace, TextureReader
from fieldforge.readers.wavefront import number, numbers_only, statements

PLAIN = (0.8, 0.8, 0.8)
"""The colour of a material that states none."""

RGB_OF_XYZ = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
"""Linear sRGB of CIE XYZ (IEC 61966-2-1)."""


@dataclass(frozen=True)
class ObjMaterial:
    """A material and the placement of its texture. `described` is False for a material that no file describes."""

    material: Material = field(default_factory=Material)
    place: TexturePlace = field(default_factory=TexturePlace)
    described: bool = True


@dataclass
class _Statements:
    """A file's statements about one material, unprocessed."""

    name: str
    color: tuple[float, float, float] | None = None
    emission: tuple[float, float, float] | None = None
    d: float | None = None
    tr: float | None = None
    textures: dict[bytes, bytes] = field(default_factory=dict)


def parse_mtl(payload: bytes, store: FileStore, folders: tuple[str, ...], notes: Notes) -> dict[str, ObjMaterial]:
    """Kd, Ke, d / Tr, map_Kd, map_Ke and map_d of each material; textures are looked for in `folders`.

    A material that is black or of no stated colour, and shines, has the colour of its light (`Ke`, `map_Ke`).

    What cannot be read is noted: a colour is then plain grey, a texture left out. So is a material that states no
    colour at all, and what viewers leave out: a texture of ambient light alone (`map_Ka`), a picture over the colour
    (`decal`). Colours above 10 mean 0…255 in the whole file, others above 1 are clipped.

    Opacity: `d` counts before `Tr`. `Tr` is transparency, but opacity in a file that says `Tr 1` and nowhere `Tr 0`
    (MeshLab before 2023 and openMVS write it so: nobody exports what cannot be seen). `d 0` together with `Tr 0`
    contradicts itself and is opaque, and `d 0` with a `map_d` leaves the opacity to the picture.

    The alpha of a texture counts where the material says that it is translucent, by `map_d`; else viewers leave it out.
    Where the store is a library of Sweet Home 3D it counts always, as there.
    """
    blocks = [_parse(name, lines, notes) for name, lines in _blocks(payload)]
    _scale_colors(blocks, notes)
    alone = {block.tr for block in blocks if block.d is None and block.tr is not None}
    tr_is_opacity = 1.0 in alone and 0.0 not in alone
    textures = TextureReader(store, folders, notes)
    return {block.name: _material(block, tr_is_opacity, textures) for block in blocks}


def _blocks(payload: bytes) -> list[tuple[str, list[tuple[bytes, bytes]]]]:
    blocks: list[tuple[str, list[tuple[bytes, bytes]]]] = []
    for keyword, rest in statements(payload):
        if keyword == b"newmtl":
            blocks.append((decode_text(rest), []))
        elif blocks:
            blocks[-1][1].append((keyword, rest))
    return blocks


def _parse(name: str, lines: list[tuple[bytes, bytes]], notes: Notes) -> _Statements:
    block = _Statements(name)
    for keyword, rest in lines:
        words = numbers_only(rest).split()
        if keyword == b"kd":
            block.color = _color(words)
            if block.color is None:
                notes.add(
                    f"the colour of the material '{name}' cannot be read ('{decode_text(rest)}'): it is plain grey"
                )
        elif keyword in (b"d", b"tr") and words:
            value = _opacity(words[-1])  # the last: "d -halo 0.5"
            if value is None:
                notes.add(f"the opacity of the material '{name}' cannot be read ('{decode_text(rest)}'): it is opaque")
            elif keyword == b"d":
                block.d = value
            else:
                block.tr = value
        elif keyword == b"ke":
            block.emission = _color(words)
        elif keyword in (b"map_kd", b"map_d", b"map_ke", b"map_ka") and rest:
            block.textures[keyword] = rest
    _note_silence(block, {keyword for keyword, _ in lines}, notes)
    return block


def _note_silence(block: _Statements, keywords: set[bytes], notes: Notes) -> None:
    if not keywords & {b"kd", b"map_kd", b"ke", b"map_ke"}:
        notes.add(f"the material '{block.name}' states no colour (no Kd): it is plain grey")
    if b"map_ka" in block.textures and b"map_kd" not in block.textures:
        notes.add(f"the material '{block.name}' has a texture of ambient light alone (map_Ka), which is left out")
    if b"decal" in keywords:
        notes.add(f"the material '{block.name}' has a picture over its colour (decal), which is left out")


def _color(words: list[bytes]) -> tuple[float, float, float] | None:
    """A colour (r, g, b). One number gives all three channels, as in the specification; of two the second is repeated.

    None if it cannot be read.
    """
    if len(words) == 1 and words[0].count(b",") >= 2:  # "0.5,0.5,0.5"
        words = words[0].split(b",")
        if len(words) > 4:  # "0,5,0,5,0,5": which commas are decimal ones?
            return None
    xyz = bool(words) and words[0].lower() == b"xyz"
    try:
        values = [number(word) for word in words[xyz : 3 + xyz]]  # "spectral" and a file is no number
    except ValueError:
        return None
    if not values or not np.isfinite(values).all():
        return None
    values += values[-1:] * (3 - len(values))
    if xyz:
        values = linear_to_srgb(np.clip(RGB_OF_XYZ @ values, 0, 1)).tolist()
    return values[0], values[1], values[2]


def _opacity(word: bytes) -> float | None:
    try:
        value = number(word)
    except ValueError:
        return None
    return float(np.clip(value, 0, 1)) if np.isfinite(value) else None


def _scale_colors(blocks: list[_Statements], notes: Notes) -> None:
    highest = max((max(block.color) for block in blocks if block.color is not None), default=0.0)
    if highest > 10:
        notes.add(f"the colours of its materials reach up to {highest:g}: they are read as 0 to 255")
    for block in blocks:
        if block.color is not None:
            scale = 255 if highest > 10 and max(block.color) > 1 else 1
            red, green, blue = (np.clip(np.array(block.color) / scale, 0, 1)).tolist()
            block.color = (red, green, blue)


def _material(block: _Statements, tr_is_opacity: bool, textures: TextureReader) -> ObjMaterial:
    alpha = 1.0
    if block.d is not None:
        contradicts = block.d == 0 and block.tr == 0
        alpha = 1.0 if contradicts or (block.d == 0 and b"map_d" in block.textures) else block.d
    elif block.tr is not None:
        alpha = block.tr if tr_is_opacity else 1 - block.tr
    color, picture = block.color or PLAIN, block.textures.get(b"map_kd")
    if picture is None and (block.color is None or max(block.color) == 0) and max(block.emission or (0,)) > 0:
        emission = np.clip(np.array(block.emission), 0, 1).tolist()
        color, picture = (emission[0], emission[1], emission[2]), block.textures.get(b"map_ke")
    texture, place = textures.read(picture, block.textures.get(b"map_d"), color)
    wrap: tuple[Wrap, Wrap] = ("clamp", "clamp") if place.clamp else ("repeat", "repeat")
    return ObjMaterial(Material((*color, alpha), texture, (1.0, 1.0, 1.0, alpha), wrap), place)


def opaque(material: ObjMaterial) -> ObjMaterial:
    """The same material, opaque."""
    texture = material.material.texture
    if texture is not None:
        texture = texture.copy()
        texture[..., 3] = 255
    color = (*material.material.color[:3], 1.0)
    return replace(
        material, material=replace(material.material, color=color, texture=texture, tint=(1.0, 1.0, 1.0, 1.0))
    )
