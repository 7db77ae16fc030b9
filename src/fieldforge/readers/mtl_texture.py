"""Textures of MTL files: names between options, placement on the surface, opacity."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from fieldforge.readers.beside import find_beside
from fieldforge.readers.file_store import AssetError, FileStore, Notes, decode_text
from fieldforge.readers.texture import decode_texture
from fieldforge.readers.wavefront import number, without_comment

OPTIONS = {b"-o": 3, b"-s": 3, b"-t": 3, b"-mm": 2, b"-boost": 1, b"-texres": 1, b"-bm": 1}
"""Options of a texture with as many numbers at most."""

SWITCHES = (b"-blendu", b"-blendv", b"-cc", b"-clamp", b"-imfchan", b"-type")
"""Options followed by one word."""

SWEET_HOME_CATALOGUE = "PluginFurnitureCatalog.properties"


@dataclass(frozen=True)
class TexturePlace:
    """u, v of a picture = coordinates · scale + offset; `clamp`: it does not repeat."""

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamp: bool = False

    def of(self, uv: np.ndarray) -> np.ndarray:
        """Coordinates (…, 2) in the picture."""
        with np.errstate(invalid="ignore", over="ignore"):
            return uv * np.array(self.scale) + np.array(self.offset)


@dataclass
class TextureReader:
    """Reads the pictures of one material file, each once."""

    store: FileStore
    folders: tuple[str, ...]
    notes: Notes

    def __post_init__(self) -> None:
        self._pictures: dict[str, np.ndarray | None] = {}

    def read(
        self, color_map: bytes | None, opacity_map: bytes | None, color: tuple[float, float, float]
    ) -> tuple[np.ndarray | None, TexturePlace]:
        """uint8 (H, W, 4) of `map_Kd` with the opacity of `map_d`, or None, and its place."""
        picture, place, name = self._load(color_map)
        opacity, opacity_place, opacity_name = self._load(opacity_map)
        if picture is not None and (opacity is None or opacity_name == name or self._alpha_counts):
            if opacity is None and not self._alpha_counts and (picture[..., 3] < 255).any():
                picture = picture.copy()
                picture[..., 3] = 255
        elif opacity is not None:
            place = place if picture is not None else opacity_place
            picture = _with_opacity(picture, opacity, color)
        return picture, place

    @cached_property
    def _alpha_counts(self) -> bool:
        """Is the store a library of Sweet Home 3D, which shows the alpha of every texture?"""
        return SWEET_HOME_CATALOGUE in self.store.entries("")[1]

    def _load(self, statement: bytes | None) -> tuple[np.ndarray | None, TexturePlace, str | None]:
        if statement is None:
            return None, TexturePlace(), None
        options, rest = _split_options(statement)
        place = self._place(options)
        for reference in _candidates(statement, rest):
            path = find_beside(self.store, self.folders[0], reference, *self.folders[1:])
            if path is not None:
                return self._decode(path, reference), place, path
        shown = decode_text(without_comment(rest) or rest).strip().strip("\"'")
        self.notes.add(f"the texture '{shown}' is missing: its faces keep their plain colour")
        return None, place, None

    def _decode(self, name: str, reference: str) -> np.ndarray | None:
        if name not in self._pictures:
            try:
                self._pictures[name] = decode_texture(self.store.read(name))
            except AssetError as error:
                self.notes.add(f"texture '{reference}': {error}")
                self._pictures[name] = None
        return self._pictures[name]

    def _place(self, options: dict[bytes, list[bytes]]) -> TexturePlace:
        scale, offset = _pair(options.get(b"-s"), 1.0), _pair(options.get(b"-o"), 0.0)
        if _pair(options.get(b"-mm", [b"0", b"1"]), 1.0) != (0, 1):  # base and gain
            self.notes.add("a texture is brightened by -mm, which is left out")
        return TexturePlace(scale, offset, options.get(b"-clamp") == [b"on"])


def _pair(words: list[bytes] | None, missing: float) -> tuple[float, float]:
    values = [number(word) for word in words or []][:2]
    values += [missing] * (2 - len(values))
    return values[0], values[1]


def _split_options(statement: bytes) -> tuple[dict[bytes, list[bytes]], bytes]:
    """The options before a name with their values, and the rest."""
    options: dict[bytes, list[bytes]] = {}
    rest = statement
    while (match := re.match(rb"(-[A-Za-z]+)\s+", rest)) and match[1].lower() in (*OPTIONS, *SWITCHES):
        option, rest = match[1].lower(), rest[match.end() :]
        values: list[bytes] = []
        while len(values) < OPTIONS.get(option, 1) and (value := re.match(rb"(\S+)\s+", rest)):
            if option in OPTIONS and not _is_number(value[1]):
                break
            values.append(value[1].lower())
            rest = rest[value.end() :]
        options[option] = values
    return options, rest


def _is_number(word: bytes) -> bool:
    try:
        number(word)
    except ValueError:
        return False
    return True


def _candidates(statement: bytes, rest: bytes) -> list[str]:
    """Possible names of a texture: a `#`, a space or an apparent option can belong to a name."""
    plain = without_comment(rest)
    before_options = re.split(rb"\s-[A-Za-z]+\s", plain, maxsplit=1)[0]
    last_word = (plain.split() or [b""])[-1]
    names = (decode_text(text).strip() for text in (statement, rest, plain, before_options, last_word))
    return [name for name in dict.fromkeys(names) if name]


def _with_opacity(picture: np.ndarray | None, opacity: np.ndarray, color: tuple[float, float, float]) -> np.ndarray:
    """A picture (or the plain colour) with the opacity of another: its alpha, or its brightness where it has none."""
    values = (
        opacity[..., 3] if (opacity[..., 3] < 255).any() else opacity[..., :3].mean(axis=2).round().astype(np.uint8)
    )
    if picture is None:
        plain = np.round(np.array(color) * 255).astype(np.uint8)
        picture = np.broadcast_to(np.append(plain, np.uint8(255)), (*values.shape, 4))
    if values.shape != picture.shape[:2]:
        height, width = picture.shape[:2]
        values = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
    return np.concatenate([picture[..., :3], values[..., None]], axis=2)
