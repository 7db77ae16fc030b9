"""OFF files without one line per vertex and face: only the order of numbers defines the format."""

from collections.abc import Sequence


def lines_of(
    words: Sequence[bytes], vertex_count: int, face_count: int, widths: Sequence[int]
) -> list[list[bytes]] | None:
    """A line for each vertex and each face; None where the numbers can be read in no way, or in several.

    Args:
        words: all that follows the counts of vertices and faces; the count of edges may be the first.
        vertex_count, face_count: as announced.
        widths: how many numbers a vertex may have.
    """
    for rest in (words[1:], words):
        ways = [lines for width in widths if (lines := _cut(rest, vertex_count, face_count, width))]
        if ways:
            return ways[0] if len(ways) == 1 else None
    return None


def _cut(words: Sequence[bytes], vertex_count: int, face_count: int, width: int) -> list[list[bytes]] | None:
    """The lines, if vertices of that width and faces without colours use up all words."""
    place = vertex_count * width
    if not vertex_count or place > len(words):
        return None
    lines = [list(words[start : start + width]) for start in range(0, place, width)]
    for _ in range(face_count):
        corners = _number(words[place]) if place < len(words) else 0
        face = list(words[place : place + 1 + corners])
        if corners < 1 or len(face) != 1 + corners or any(not 0 <= _number(word) < vertex_count for word in face[1:]):
            return None
        lines.append(face)
        place += len(face)
    return lines if place == len(words) else None


def _number(word: bytes) -> int:
    """The whole number that a word is; -1 where it is none."""
    return int(word) if word.isdigit() and len(word) < 16 else -1
