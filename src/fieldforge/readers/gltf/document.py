"""The JSON document of a glTF asset, its references and its buffers. Every value is checked at its use."""

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from fieldforge.errors import UserError
from fieldforge.readers.beside import read_beside
from fieldforge.readers.file_store import AssetError, FileStore
from fieldforge.readers.gltf.container import Json, unpack

STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")
"""From the alphabet for addresses, which some writers use."""

MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")

KNOWN_EXTENSIONS = {
    # read
    "KHR_draco_mesh_compression",
    "KHR_mesh_quantization",
    "KHR_texture_transform",
    "EXT_mesh_gpu_instancing",
    "EXT_texture_webp",
    "EXT_texture_avif",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_emissive_strength",
    "KHR_node_visibility",
    # refused by name or noted where they are met and nothing stands in for them
    *MESHOPT,
    "KHR_texture_basisu",
    "MSFT_texture_dds",
    # of no weight for shape and base colour
    "KHR_materials_unlit",
    "KHR_materials_variants",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_diffuse_transmission",
    "KHR_materials_dispersion",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_transmission",
    "KHR_materials_volume",
    "KHR_animation_pointer",
    "KHR_lights_punctual",
    "EXT_lights_ies",
    "EXT_lights_image_based",
    "KHR_xmp",
    "KHR_xmp_json_ld",
}


@contextmanager
def damage_named() -> Iterator[None]:
    """Turns wrong values in a foreign document into an AssetError."""
    try:
        with np.errstate(all="ignore"):
            yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        raise AssetError(
            f"the glTF cannot be read (something else than expected is in its description: {error}); export it again."
        ) from error


class Document:
    """A parsed glTF and its buffers, which are read at their first use."""

    def __init__(self, payload: bytes, store: FileStore | None = None, folder: str = "") -> None:
        """`payload`: a GLB or the text of a glTF. AssetError if it is neither, or needs what is not known here."""
        self._store, self._folder = store, folder
        self.json, self._binary = unpack(payload)
        self._buffers: dict[Any, bytes | memoryview] = {}
        self._check_version()
        self.required = set(_list(self.json, "extensionsRequired"))
        for name in sorted(str(name) for name in self.required):
            if name not in KNOWN_EXTENSIONS:
                raise AssetError(f"it requires the glTF extension {name}, which is not read here; export without it.")

    def _check_version(self) -> None:
        asset = self.json.get("asset", {})
        for key in ("minVersion", "version"):
            version = str(asset.get(key, "2.0")) if isinstance(asset, dict) else "2.0"
            if version.partition(".")[0] != "2":
                raise AssetError(f"it is glTF of version {version}, and 2.0 is read here; convert it to glTF 2.0.")

    def list(self, kind: str) -> list[Any]:
        """All items of a kind: `nodes`, `meshes`, `accessors`, …; empty if there are none."""
        return _list(self.json, kind)

    def item(self, kind: str, index: Any) -> Json:
        """Item of a kind by its index. AssetError if it is not there."""
        items = self.list(kind)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(items):
            raise AssetError(
                f"the glTF refers to number {index!r} of its {len(items)} {kind}, which is not there; export it again."
            )
        if not isinstance(items[index], dict):
            raise AssetError(f"the glTF's {kind}[{index}] is not an object; export it again.")
        return items[index]  # type: ignore[no-any-return]

    def view(self, index: Any) -> tuple[memoryview, int]:
        """Bytes of a buffer view and its stride (0: none given). AssetError if they are not all there."""
        view = self.item("bufferViews", index)
        for extension in MESHOPT:
            if extension in extensions(view) and self._is_placeholder(view.get("buffer"), extension):
                raise AssetError(
                    f"its data are compressed by meshopt ({extension}), which is not read here; "
                    "export it without compression (gltfpack without -c, gltf-transform copy)."
                )
        data = self.buffer(view.get("buffer"))
        start, length = whole_number(view, "byteOffset", 0), whole_number(view, "byteLength", None)
        if start + length > len(data):
            raise AssetError(
                f"the glTF cannot be read (bufferViews[{index}] ends at byte {start + length:,} of a buffer of "
                f"{len(data):,}); the file is cut, get it again."
            )
        return memoryview(data)[start : start + length], whole_number(view, "byteStride", 0)

    def buffer(self, index: Any) -> bytes | memoryview:
        """Content of a buffer. AssetError if it is missing or shorter than it says."""
        buffer = self.item("buffers", index)
        uri = buffer.get("uri")
        key = uri if isinstance(uri, str) else index
        if key not in self._buffers:
            self._buffers[key] = self._read_buffer(index, buffer)
        data, size = self._buffers[key], whole_number(buffer, "byteLength", 0)
        if size > len(data) + 3:  # some writers count the padding at the end, which they do not write
            raise AssetError(
                f"the glTF cannot be read (buffers[{index}] has {len(data):,} of the {size:,} bytes that it announces);"
                " the file is cut, get it again."
            )
        return data

    def _read_buffer(self, index: Any, buffer: Json) -> bytes | memoryview:
        if isinstance(buffer.get("uri"), str):
            payload = self.resource(buffer["uri"])
            if payload is None:
                raise AssetError(
                    f"the glTF cannot be read (its buffer '{readable(buffer['uri'])}' is missing); "
                    "put it beside the asset."
                )
            return payload
        if index == 0 and self._binary is not None:
            return self._binary
        raise AssetError(f"the glTF cannot be read (buffers[{index}] has no data); export it again.")

    def _is_placeholder(self, index: Any, extension: str) -> bool:
        """Whether a buffer only stands for what decompression would fill."""
        buffer = self.item("buffers", index)
        stands_for = extensions(buffer).get(extension)
        fallback = isinstance(stands_for, dict) and bool(stands_for.get("fallback"))
        if isinstance(buffer.get("uri"), str):  # gltfpack -cf writes the same data once more, uncompressed
            return fallback and self.resource(buffer["uri"]) is None
        return fallback or not (index == 0 and self._binary is not None)

    def resource(self, uri: str) -> bytes | None:
        """The content of a URI: data within it, or a file of the asset's store. None if the file is missing.

        Names of files are percent-encoded; a file may be called as the URI reads, too. What follows a `?` is no part of
        a name, unless a file has it. No network is asked.
        """
        if uri[:5].lower() == "data:":
            return _data_of(uri)
        if self._store is None:
            return None
        for name in dict.fromkeys((readable(uri), uri, readable(uri.partition("?")[0]))):
            payload = read_beside(self._store, self._folder, name)
            if payload is not None:
                return payload
        return None


def extensions(item: Json) -> Json:
    """Extensions of an item by name; empty if it has none."""
    extension_table = item.get("extensions")
    return extension_table if isinstance(extension_table, dict) else {}


def extension(item: Json, name: str) -> Json | None:
    """One extension of an item, None if it is not used."""
    extension_item = extensions(item).get(name)
    return extension_item if isinstance(extension_item, dict) else None


def whole_number(item: Json, key: str, default: int | None) -> int:
    """A whole number ≥ 0 of an item. AssetError if it is something else, or missing without a default."""
    value = item.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise AssetError(f"the glTF cannot be read ({key} = {str(value)[:40]} is no count); export it again.")
    return value


def numbers(item: Json, key: str, default: tuple[float, ...]) -> np.ndarray:
    """As many finite numbers of an item as `default` has. AssetError if it holds something else."""
    value = item.get(key, default)
    array = np.array(value, np.float64) if isinstance(value, list | tuple) else np.empty(0)
    if array.shape != (len(default),) or not np.isfinite(array).all():
        raise AssetError(f"the glTF cannot be read ({key} is not {len(default)} finite numbers); export it again.")
    return array


def readable(uri: str) -> str:
    """A URI's name as its file is called."""
    try:
        raw = uri.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair of code units, which no name holds
        raw = uri.encode("utf-8", "replace")
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")


def _list(item: Json, key: str) -> list[Any]:
    entries = item.get(key, [])
    return entries if isinstance(entries, list) else []


def _data_of(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise AssetError(f"the glTF cannot be read (a data URI '{uri[:30]}' without data); export it again.")
    if not re.search(r";\s*base64\s*$", head, re.IGNORECASE):
        return unquote_to_bytes(body)
    raw = b"".join(unquote_to_bytes(body).split()).translate(STANDARD_BASE64).rstrip(b"=")
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise AssetError(f"the glTF cannot be read (a data URI is damaged: {error}); export it again.") from error
