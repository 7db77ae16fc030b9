"""Numbers of text files."""

import re
from collections.abc import Sequence

import numpy as np

from fieldforge.readers.file_store import AssetError

MAX_WORD = 400
"""Digits of the longest double, written out. An array of words has room for the longest in every place."""


def parse_numbers(words: Sequence[bytes], kind: str) -> np.ndarray:
    """float64 (N,). AssetError, naming the kind of file, if a word is no number."""
    try:
        if max(map(len, words), default=0) > MAX_WORD:
            raise ValueError(f"a word of {max(map(len, words)):,} characters")
        return np.array(words).astype(np.float64)
    except ValueError as error:
        raise AssetError(
            f"the {kind} file cannot be read: it holds something else than numbers ({odd_word(error)}); "
            "export the mesh again."
        ) from None


def odd_word(error: Exception) -> str:
    """The word that Python or numpy could not read as a number, without their ways to write bytes."""
    match = re.search(r"""b(['"])(.*)\1\)?$""", str(error))
    return str(error) if match is None else f"'{match[2][:60]}'"
