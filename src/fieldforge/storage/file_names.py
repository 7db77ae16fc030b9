"""Names of files for texts."""

import re


def slug(text: str) -> str:
    """Letters and digits of the text, for a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "sample"
