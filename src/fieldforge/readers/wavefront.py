"""Common syntax of OBJ and MTL files: lines of a keyword and its arguments, comments, numbers."""

import re
from collections.abc import Iterator

COMMENT_LINE = re.compile(rb"^[ \t]*#[^\r\n]*", re.MULTILINE)
"""Not continued by a backslash: a comment may end in the path of a folder."""

UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def statements(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(keyword in lower case, the rest of the line) of each line that is no comment; continued lines are one.

    The rest still holds a comment at its end: a `#` may be part of a name.
    """
    text = _utf_8(payload)
    if b"\\" in text:
        text = COMMENT_LINE.sub(b"", text)
        text = re.sub(rb"\\[ \t]*(\r\n|\n|\r)", b" ", text)
    for line in text.splitlines():
        parts = line.split(None, 1)
        if parts and not parts[0].startswith(b"#"):
            yield parts[0].lower(), parts[1].rstrip() if len(parts) > 1 else b""


def without_comment(rest: bytes) -> bytes:
    """The part before a `#` that begins a word: within one it belongs to a name."""
    return re.split(rb"(?:^|\s)#", rest, maxsplit=1)[0].rstrip()


def numbers_only(rest: bytes) -> bytes:
    """The part before a comment of a line of numbers. ("1.#IND" is a number, as old compilers write NaN.)"""
    return re.split(rb"(?:^|\s|(?<=\d))#", rest, maxsplit=1)[0].rstrip()


def number(word: bytes) -> float:
    """A number, also with a decimal comma or as old compilers write NaN and infinity. ValueError if it is none."""
    try:
        return float(word)
    except ValueError:
        if re.fullmatch(rb"[+-]?\d+\.#[A-Za-z]+\d*", word):
            return float("nan")
        return float(word.rstrip(b",").replace(b",", b"."))


def _utf_8(payload: bytes) -> bytes:
    """The text without byte order mark; UTF-16, as some editors save it, becomes UTF-8."""
    encoding = UTF_16.get(payload[:2])
    if encoding is None and payload[1:2] == payload[3:4] == b"\0":
        encoding = "utf-16-le"
    if encoding is not None:
        payload = payload.decode(encoding, "replace").encode()
    return payload.removeprefix(b"\xef\xbb\xbf")
