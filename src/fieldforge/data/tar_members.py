"""Splits a sample's bytes within a tar into its members."""

BLOCK = 512
PLAIN_FILE, EXTENDED_HEADER = b"0\0", b"x"  # tar's type flags; webdataset's own writer puts an extended time everywhere


def stored_bytes(*members: int) -> int:
    """Bytes of a sample with members of these bytes: each has a header and fills whole blocks."""
    return sum(BLOCK * (1 - -size // BLOCK) for size in members)


def split_members(block: bytes, key: str) -> dict[str, memoryview]:
    """Bytes of a sample's tar members → {suffix: content}. ValueError if they are not plain members of that key.

    Only the two header fields that matter are parsed: `tarfile` takes longer for the headers than the rest of reading.
    """
    view, members, place = memoryview(block), {}, 0
    while place < len(block):
        name = block[place : block.index(0, place, place + 100)].decode()
        size = int(block[place + 124 : place + 136].rstrip(b" \0"), 8)
        prefix, _, suffix = name.partition(".")
        kind = block[place + 156]
        if kind not in EXTENDED_HEADER:
            if prefix != key or kind not in PLAIN_FILE or place + BLOCK + size > len(block):
                raise ValueError(f"member {name!r} is not a plain one of sample '{key}'")
            members[suffix] = view[place + BLOCK : place + BLOCK + size]
        place += BLOCK + (size + BLOCK - 1) // BLOCK * BLOCK
    return members
