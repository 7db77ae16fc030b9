"""The container of a glTF asset: a GLB of chunks, or the text alone."""

import json
import struct
from typing import Any

from fieldforge.readers.file_store import AssetError

Json = dict[str, Any]

JSON_CHUNK, BIN_CHUNK = 0x4E4F534A, 0x004E4942


def unpack(payload: bytes) -> tuple[Json, memoryview | None]:
    """JSON and binary chunk of a GLB or a glTF, whichever it is. AssetError if it is neither."""
    text, binary = _chunks(payload) if payload[:4] == b"glTF" else (payload, None)
    try:
        # Some writers put names in the encoding of their system: their bytes are kept.
        plain = text.rstrip(b"\0 \r\n\t").removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        root = json.loads(plain, object_hook=_without_nulls)
    except (ValueError, RecursionError) as error:
        if not text.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
            raise AssetError("it is not a glTF file, nor a GLB; get it or export it again.") from error
        raise AssetError(f"the glTF description cannot be read ({error}); export the asset again.") from error
    if not isinstance(root, dict):
        raise AssetError("the glTF description cannot be read (it is no object); export the asset again.")
    return root, binary


def _without_nulls(item: Json) -> Json:
    """Some writers put null where nothing is."""
    return {key: value for key, value in item.items() if value is not None}


def _chunks(payload: bytes) -> tuple[bytes, memoryview | None]:
    """JSON and binary chunk of a GLB; others are passed over."""
    if len(payload) < 20:
        raise AssetError("the GLB cannot be read (it ends within its header); the file is cut, get it again.")
    (version,) = struct.unpack_from("<I", payload, 4)
    if version != 2:
        raise AssetError(f"it is a GLB of version {version}, and 2 is read here; convert it to glTF 2.0.")
    text: bytes | None = None
    binary: memoryview | None = None
    place = 12
    while place + 8 <= len(payload):
        length, kind = struct.unpack_from("<II", payload, place)
        place += 8
        end = following = place + length
        if kind == JSON_CHUNK and text is None:
            if len(payload) < end:
                raise AssetError("the GLB cannot be read (it ends within its description); it is cut, get it again.")
            following = _binary_after(payload, end, length)
            text = payload[place : min(end, following)]
        elif kind == BIN_CHUNK and binary is None:
            binary = memoryview(payload)[place:end]  # if it is cut, the buffer says so when it is used
        place = following
    if text is None:
        raise AssetError("the GLB cannot be read (it holds no description); export the asset again.")
    return text, binary


def _binary_after(payload: bytes, end: int, length: int) -> int:
    """Where the binary chunk begins after a description of that length, else `end`.

    Some writers fill the description up to four bytes and leave that out of its length; others count it and write none.
    """
    for place in (end, end + -length % 4, end - 1, end - 2, end - 3):
        if payload[place + 4 : place + 8] == struct.pack("<I", BIN_CHUNK):
            return place
    return end
