"""Materials by name for OBJ files: from material files, or from the standard names of old exporters."""

import csv
import re
import unicodedata
from functools import cache
from importlib.resources import files

from PIL import ImageColor

from fieldforge.geometry.mesh import Material
from fieldforge.readers.beside import find_beside
from fieldforge.readers.file_store import AssetError, FileStore, Notes, decode_text
from fieldforge.readers.mtl import ObjMaterial, parse_mtl
from fieldforge.readers.wavefront import without_comment

NAMELESS = ("", "none", "null", "(null)")
"""Names of materials, in lower case, by which exporters say that there is none."""

MAX_WORDS = 16
"""A name of a material file has no more words."""


def materials_of(
    store: FileStore, name: str, libraries: list[bytes], material_names: list[bytes], notes: Notes
) -> list[ObjMaterial]:
    """The material of each name. What is found nowhere is noted, and plain grey.

    A name leads, in this order, to the material that the files describe by it, by it without a comment, or in other
    case (which is noted); to one of Java 3D's default materials, as its OBJ loader has it; to the colour that the name
    is in CSS (which is noted). Where a material file is lost, the names that it describes are not guessed.
    """
    folder, _, base = name.rpartition("/")
    paths, incomplete = _find_libraries(store, folder, libraries, notes)
    stem = f"{base.rpartition('.')[0]}.mtl"
    if not paths and any(_plain(text).lower() not in NAMELESS for text in material_names):
        beside = find_beside(store, folder, stem)
        if beside is not None:
            notes.add(f"no material file of its own is there: '{stem}' beside it is read")
            paths, incomplete = [beside], False
    known: dict[str, ObjMaterial] = {}
    for path in paths:
        try:
            materials = parse_mtl(store.read(path), store, (path.rpartition("/")[0], folder), notes)
        except AssetError as error:
            notes.add(f"the material file '{path}' cannot be read: {error}")
            incomplete = True
            continue
        for key, material in materials.items():
            known.setdefault(key, material)  # of several files the first counts
    index = _index(known)
    return [_look_up(index, text, incomplete, notes) for text in material_names]


def _find_libraries(store: FileStore, folder: str, libraries: list[bytes], notes: Notes) -> tuple[list[str], bool]:
    """Paths of the material files in their order, each once, and whether one is missing, which is noted.

    A statement is one name with spaces or several names: the longest that is there counts.
    """
    paths: list[str] = []
    incomplete = False
    for statement in libraries:
        whole = find_beside(store, folder, decode_text(statement))
        words = without_comment(statement).split()
        missing: list[str] = []
        while whole is None and words:
            for count in range(min(len(words), MAX_WORDS), 0, -1):
                path = find_beside(store, folder, decode_text(b" ".join(words[:count])))
                if path is not None:
                    break
            else:
                missing.append(decode_text(words[0]))
            paths += [] if path is None else [path]
            words = words[count:]
        paths += [] if whole is None else [whole]
        for text in re.split(r"(?<=\.mtl) ", " ".join(missing), flags=re.IGNORECASE) if missing else []:
            notes.add(f"the material file '{text}' is missing: its faces are plain grey")
            incomplete = True
    return list(dict.fromkeys(paths)), incomplete


def _index(known: dict[str, ObjMaterial]) -> dict[str, ObjMaterial]:
    """By whole name, and by the name without a comment where no other material has it as its whole name."""
    index = {_spaced(name): material for name, material in known.items()}
    for name, material in known.items():
        index.setdefault(_plain(name.encode()), material)
    return index


def _look_up(index: dict[str, ObjMaterial], text: bytes, incomplete: bool, notes: Notes) -> ObjMaterial:
    plain = _plain(text)
    for name in (_spaced(decode_text(text)), plain):
        if name in index:
            return index[name]
    if plain.lower() in NAMELESS:
        return ObjMaterial(described=False)
    for name, material in index.items():
        if name.casefold() == plain.casefold():
            notes.add(f"the material '{plain}' is in no material file: '{name}' is taken for it")
            return material
    if incomplete:
        return ObjMaterial(described=False)
    return _default_material(plain, bool(index), notes)


def _default_material(name: str, named_elsewhere: bool, notes: Notes) -> ObjMaterial:
    default = java3d_materials().get(re.sub(r"\.\d{3}$", "", name))  # Blender numbers copies: "white.001"
    if default is not None:
        if named_elsewhere:
            notes.add(f"the material '{name}' is in no material file: Java 3D's of this name is taken")
        return ObjMaterial(default)
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        notes.add(f"the material '{name}' is described nowhere: its faces are plain grey")
        return ObjMaterial(described=False)
    notes.add(f"the material '{name}' is described nowhere: it has the colour of this name")
    return ObjMaterial(Material((red / 255, green / 255, blue / 255, 1.0)))


@cache
def java3d_materials() -> dict[str, Material]:
    """The materials that Java 3D's OBJ loader knows without a file (`com.sun.j3d.loaders.objectfile`), by name.

    Files of its time use their names and bring no MTL. (There `d` was transparency; the table holds opacity.)
    """
    table = files("fieldforge.readers").joinpath("java3d_materials.csv").read_text(encoding="utf-8")
    materials = {}
    for row in csv.DictReader(table.splitlines()):
        red, green, blue, opacity = (float(row[key]) for key in ("red", "green", "blue", "opacity"))
        materials[row["name"]] = Material((red, green, blue, opacity))
    return materials


def _plain(text: bytes) -> str:
    return _spaced(decode_text(without_comment(text) or text)).strip("\"'")


def _spaced(name: str) -> str:
    """One spelling: single spaces, accents composed (macOS takes them apart)."""
    return unicodedata.normalize("NFC", " ".join(name.split()))
