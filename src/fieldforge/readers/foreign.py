"""Detection of files whose content contradicts their ending."""

from fieldforge.readers.file_store import AssetError, FileStore

ENDINGS = {b"glTF": ("glb", "gltf"), b"ply\n": ("ply",), b"ply\r": ("ply",)}
"""First bytes → the endings that files of this kind have."""

PACKED, CONVERT = "unpack it", "export it as GLB"
FOREIGN = {
    b"version https://git-lfs": ("a Git LFS pointer, not the mesh itself", "get the mesh by git lfs pull"),
    b"<!doctype html": ("a web page", "download the mesh again"),
    b"<html": ("a web page", "download the mesh again"),
    b"\x1f\x8b\x08": ("packed by gzip", PACKED),
    b"pk\x03\x04": ("a zip", "name it .zip or unpack it"),
    b"rar!\x1a\x07": ("packed as RAR", PACKED),
    b"7z\xbc\xaf\x27\x1c": ("packed as 7z", PACKED),
    b"\xfd7zxz\0": ("packed by xz", PACKED),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", PACKED),
    b"kaydara fbx binary": ("FBX", CONVERT),
    b"blender-v": ("a Blender file", CONVERT),
    b"<?xml": ("XML, as COLLADA or X3D are", CONVERT),
    b"#vrml": ("VRML", CONVERT),
    b"\x89png\r\n": ("a PNG picture", "put the mesh there"),
    b"\xff\xd8\xff": ("a JPEG picture", "put the mesh there"),
    b"%pdf-": ("a PDF document", "put the mesh there"),
}
"""First bytes, in lower case → what such a file is and what to do."""


def check_kind(store: FileStore, name: str) -> None:
    """AssetError if the first bytes of a file belong to another kind than its ending."""
    start = store.head(name).removeprefix(b"\xef\xbb\xbf").lstrip()
    ending = name.rpartition(".")[2].lower()
    for first, endings in ENDINGS.items():
        if start.startswith(first) and ending not in endings:
            raise AssetError(f"the file is {endings[0].upper()} under another ending; name it .{endings[0]}.")
    for first, (kind, remedy) in FOREIGN.items():
        if start[:64].lower().startswith(first):
            raise AssetError(f"the file is {kind}; {remedy}.")
