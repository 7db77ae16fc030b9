"""Object File Format (Geomview): OFF, COFF, NOFF, STOFF and their combinations, in ASCII."""

import re
from itertools import chain

import numpy as np

from fieldforge.geometry.mesh import Material, Mesh
from fieldforge.readers.faces import Polygons, cut
from fieldforge.readers.file_store import AssetError, FileStore, Notes
from fieldforge.readers.limits import Limits, check_announced
from fieldforge.readers.numbers import odd_word, parse_numbers
from fieldforge.readers.off_lines import lines_of
from fieldforge.readers.rgba import full_scale, unit_rgba

EXPORT = "export the mesh again."
PLAIN, WHITE = Material(), Material((1.0, 1.0, 1.0, 1.0))
PARTS = re.compile("ST|C|N|4|n")


def read_off(store: FileStore, name: str, limits: Limits, notes: Notes) -> Mesh:
    """Mesh of an OFF file. AssetError with the reason if it cannot be used.

    Vertices hold position, normal (N), colour (C: three or four numbers), texture coordinates (ST), in this order;
    faces may end with a colour. Normals and coordinates are not needed: OFF names no texture.
    """
    payload = store.read(name).removeprefix(b"\xef\xbb\xbf")
    if b"\0" in payload[:4096]:
        raise AssetError("the file is a binary OFF, which is not read; export it as ASCII OFF or as PLY.")
    lines = [
        words
        for line in payload.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if (words := line.partition(b"#")[0].split())
    ]
    has_colors, has_normals, coordinates = _keyword(lines)
    vertex_count, face_count, rest_of_line = _counts(lines)
    check_announced(face_count, limits)
    if rest_of_line or vertex_count + face_count > len(lines):
        width = 3 + 3 * has_normals + coordinates
        words = [*rest_of_line, *chain.from_iterable(lines)]
        widths = (width + 4, width + 3) if has_colors else (width,)
        lines = lines_of(words, vertex_count, face_count, widths) or lines
    if vertex_count + face_count > len(lines):
        raise AssetError(
            f"the file announces {vertex_count:,} vertices and {face_count:,} faces but holds {len(lines):,} lines; "
            "it is cut off, its counts are wrong, or a line holds several of them: copy or export it again."
        )
    vertices, of_vertex = _read_vertices(lines[:vertex_count], has_colors, has_normals, coordinates, notes)
    rest = lines[vertex_count + face_count :]
    if rest:
        notes.add(f"{len(rest):,} lines stand behind what its counts announce: they are left out")
    polygons, of_face = _read_faces(lines[vertex_count : vertex_count + face_count], notes)
    triangles = cut(polygons, vertices, notes)
    colors = None if of_vertex is None else of_vertex[triangles.faces]
    if of_face is not None:
        own = of_face[triangles.polygon][:, None]  # (T, 1, 4), NaN where a face has no colour of its own
        plain = np.array(PLAIN.color, np.float32) if colors is None else colors
        colors = np.where(np.isfinite(own), own, plain).astype(np.float32)
        colors = np.broadcast_to(colors, (len(triangles.faces), 3, 4)).copy()
    return Mesh(vertices, triangles.faces, (PLAIN if colors is None else WHITE,), None, None, colors)


def _keyword(lines: list[list[bytes]]) -> tuple[bool, bool, int]:
    """Whether vertices have colours and normals, and how many coordinates of textures. Takes the keyword away."""
    if not lines:
        raise AssetError(f"the file holds no faces; {EXPORT}")
    word = lines[0][0].decode("latin-1")
    word = word.upper() if word.islower() else word
    prefix = word.removesuffix("OFF")
    parts = PARTS.findall(prefix)
    if prefix == word or "".join(parts) != prefix:
        if not word.isdigit():
            raise AssetError(f"the file does not begin as an OFF file; {EXPORT}")
        return False, False, 0  # the keyword may be left out
    if "4" in parts or "n" in parts:
        raise AssetError(
            f"the file is a {word}, of points in other than three dimensions, which is not read; export it as OFF."
        )
    if len(lines[0]) > 1 and lines[0][1].upper() == b"BINARY":
        raise AssetError("the file is a binary OFF, which is not read; export it as ASCII OFF or as PLY.")
    del lines[0][0]
    if not lines[0]:
        del lines[0]
    return "C" in parts, "N" in parts, 2 * ("ST" in parts)


def _counts(lines: list[list[bytes]]) -> tuple[int, int, list[bytes]]:
    """Numbers of vertices and faces, and what stands behind them in their line, if it is more than the number of edges.

    Takes the line away. The number of edges may be missing.
    """
    if not lines or len(lines[0]) < 2 or not all(word.isdigit() and len(word) < 16 for word in lines[0][:2]):
        raise AssetError(f"the counts of vertices and faces cannot be read; {EXPORT}")
    vertices, faces, *rest = lines.pop(0)
    return int(vertices), int(faces), rest if len(rest) > 1 else []


def _read_vertices(
    lines: list[list[bytes]], has_colors: bool, has_normals: bool, coordinates: int, notes: Notes
) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions (V, 3) and colours (V, 4), also of files whose keyword does not announce the colours they have."""
    if not lines:
        raise AssetError(f"the file holds no vertices; {EXPORT}")
    width = len(lines[0])
    if any(len(line) != width for line in lines):
        raise AssetError(f"its vertices have different counts of numbers; {EXPORT}")
    numbers = _numbers(lines)  # (V, width)
    color_width = width - 3 - 3 * has_normals - coordinates
    if color_width < 0 or (has_colors and color_width not in (3, 4)):
        raise AssetError(f"its vertices have {width} numbers, which does not fit its first word; {EXPORT}")
    if not color_width:
        return numbers[:, :3], None
    normals_first = has_normals and _are_unit(numbers[:, 3:6])  # as Geomview says; others write colours before them
    first = 6 if normals_first else 3
    colors = numbers[:, first : first + color_width]
    if not has_colors and (color_width not in (3, 4) or colors.min() < 0 or colors.max() <= 1):
        notes.add(f"its vertices have {color_width} numbers that its first word does not name: they are left out")
        return numbers[:, :3], None
    return numbers[:, :3], _rgba(colors, notes)


def _are_unit(normals: np.ndarray) -> bool:
    length = np.linalg.norm(normals, axis=1)
    return bool((np.abs(length - 1) < 0.01).mean() > 0.5)


def _rgba(colors: np.ndarray, notes: Notes) -> np.ndarray:
    """Colours (N, 3 or 4) in 0…1 or 0…255 → (N, 4)."""
    unit = colors / full_scale(colors)
    return unit_rgba(unit[:, :3], unit[:, 3] if unit.shape[1] == 4 else None, notes)


def _read_faces(lines: list[list[bytes]], notes: Notes) -> tuple[Polygons, np.ndarray | None]:
    """The faces, and colours (F, 4) with NaN where a face has none; None if no face has one."""
    try:
        counts = np.array([int(line[0]) for line in lines], np.int64)
        corners = np.array(
            [int(word) for line, count in zip(lines, counts.tolist(), strict=True) for word in line[1 : count + 1]],
            np.int64,
        )
    except (ValueError, OverflowError) as error:
        raise AssetError(f"a face cannot be read ({odd_word(error)}); {EXPORT}") from None
    if (counts < 0).any() or len(corners) != counts.sum():
        raise AssetError(f"a face has fewer corners than it announces; {EXPORT}")
    extra = [line[count + 1 :] for line, count in zip(lines, counts.tolist(), strict=True)]
    if any(len(words) == 1 for words in extra):
        notes.add("some of its faces take their colours from a colour map, which is not in the file: they stay plain")
    colored = np.array([len(words) in (3, 4) for words in extra], bool)
    if not colored.any():
        return Polygons(counts, corners), None
    rows = [words for words in extra if len(words) in (3, 4)]
    if len({len(words) for words in rows}) > 1:
        notes.add("only some of its faces have an opacity: all are taken as opaque")
        rows = [words[:3] for words in rows]
    colors = np.full((len(lines), 4), np.nan, np.float32)
    colors[colored] = _rgba(_numbers(rows), notes)
    return Polygons(counts, corners), colors


def _numbers(lines: list[list[bytes]]) -> np.ndarray:
    """Numbers of lines with the same number of words."""
    return parse_numbers([word for line in lines for word in line], "OFF").reshape(len(lines), -1)
