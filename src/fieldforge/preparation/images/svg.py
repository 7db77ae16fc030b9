"""Rasterisation of SVG by resvg, which needs no system library and draws alike on every machine."""

import re

from fieldforge.readers.file_store import AssetError, decode_text

OUTSIDE = re.compile(r"""<!ENTITY|@import|(?:href\s*=\s*["']|url\(\s*["']?)\s*(?!["'#]|data:)[^"')\s]""", re.IGNORECASE)
"""What refers to anything but the file itself: resvg would open files of this machine."""


def rasterise(payload: bytes, size: int) -> tuple[bytes, list[str]]:
    """PNG with straight alpha, `size` pixels wide, and what was lost. AssetError if it is no SVG, or names files."""
    import resvg_py

    text = decode_text(payload)
    if reference := OUTSIDE.search(text):
        raise AssetError(f"the SVG refers to something outside of itself ('{reference[0]}…'); embed that in it.")
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=text, width=size, skip_system_fonts=True))
    except ValueError as error:
        raise AssetError(f"the SVG cannot be drawn ({error}); save it again.") from error
    return png, ["its text is left out: turn it into paths"] if re.search(r"<text[\s>]", text) else []
