"""Asset files of any supported format into one kind of mesh."""

import io
import json
import struct
import warnings
from typing import Any

import numpy as np
import trimesh
from trimesh.resolvers import Resolver
from trimesh.visual.color import ColorVisuals
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from fieldforge.geometry.mesh import Material, Mesh, concatenate
from fieldforge.preparation.readers.beside import read_beside
from fieldforge.preparation.readers.color import encode_colors, srgb_of_linear
from fieldforge.preparation.readers.obj import load_obj
from fieldforge.preparation.readers.off import read_off
from fieldforge.preparation.readers.ply import read_ply
from fieldforge.preparation.readers.stl import read_stl
from fieldforge.preparation.readers.texture import texture_array
from fieldforge.preparation.settings import Limits
from fieldforge.preparation.stores import AssetError, FileStore, Notes, check_size

READERS = {"ply": read_ply, "stl": read_stl, "off": read_off}  # each checks itself what its file announces
MESH_ENDINGS = ("obj", "glb", "gltf", "ply", "stl", "off")


def load_mesh(store: FileStore, name: str, limits: Limits, notes: Notes) -> Mesh:
    """Mesh of one file; sizes are checked before anything big is parsed. AssetError: why it cannot be used."""
    ending = name.rpartition(".")[2].lower()
    check_size(name, store.size(name), limits.max_file_bytes)
    if store.size(name) == 0:
        raise AssetError("the file is empty; export the mesh again.")
    if ending in READERS:
        return READERS[ending](store, name, limits, notes)
    payload = store.read(name)
    announced = announced_triangles(payload, ending)
    if announced > limits.max_triangles:
        raise AssetError(
            f"the file announces {announced:,} triangles and the limit is {limits.max_triangles:,}; "
            "simplify it or raise preparation.limits.max_triangles."
        )
    if ending == "obj":
        return load_obj(store, name, notes)
    return _load_with_trimesh(payload, ending, store, name.rpartition("/")[0], notes)


def announced_triangles(payload: bytes, ending: str) -> int:
    """How many triangles a file says that it holds, read without parsing it; 0 if it does not say."""
    if ending == "obj":
        return payload.count(b"\nf ")
    if ending in ("glb", "gltf"):
        document = _gltf_document(payload, ending)
        accessors = document.get("accessors", [])
        indices = [p.get("indices") for mesh in document.get("meshes", []) for p in mesh.get("primitives", [])]
        return sum(int(accessors[i]["count"]) for i in indices if isinstance(i, int) and i < len(accessors)) // 3
    return 0


def _gltf_document(payload: bytes, ending: str) -> dict[str, Any]:
    try:
        if ending == "glb":
            (length,) = struct.unpack_from("<I", payload, 12)
            payload = payload[20 : 20 + length]
        document = json.loads(payload)
        return document if isinstance(document, dict) else {}
    except (ValueError, struct.error) as error:
        raise AssetError(f"the glTF description cannot be read ({error}); export the asset again.") from error


class _StoreResolver(Resolver):
    """Lets trimesh read the files that an asset refers to, from the asset's store alone."""

    def __init__(self, store: FileStore, folder: str) -> None:
        self.store, self.folder = store, folder

    def get(self, name: str) -> bytes:
        payload = read_beside(self.store, self.folder, name)
        if payload is None:
            raise FileNotFoundError(name)
        return payload

    def keys(self) -> list[str]:
        return []

    def write(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def namespaced(self, namespace: str) -> "Resolver":
        return self


def _load_with_trimesh(payload: bytes, ending: str, store: FileStore, folder: str, notes: Notes) -> Mesh:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(
                io.BytesIO(payload), file_type=ending, resolver=_StoreResolver(store, folder), process=False
            )
    except Exception as error:  # parsers of foreign formats fail in every way there is; the asset is rejected with it
        raise AssetError(
            f"the {ending.upper()} file cannot be read ({type(error).__name__}: {error}); export it again."
        ) from error
    parts = []
    for node in sorted(scene.graph.nodes_geometry):
        transform, geometry_name = scene.graph[node]
        geometry = scene.geometry[geometry_name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            parts.append(_from_trimesh(geometry, np.asarray(transform), ending in ("glb", "gltf"), notes))
    if not parts:
        raise AssetError("the file holds no faces; export the mesh again.")
    return concatenate(parts)


def _from_trimesh(geometry: trimesh.Trimesh, transform: np.ndarray, linear_colors: bool, notes: Notes) -> Mesh:
    """One part at its place in the scene. glTF's factors and vertex colours are linear: they become sRGB here."""
    encode = srgb_of_linear if linear_colors else lambda values: values
    faces = np.asarray(geometry.faces, np.int64)
    vertices = np.asarray(geometry.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
    if np.linalg.det(transform[:3, :3]) < 0:
        faces = np.ascontiguousarray(faces[:, ::-1])  # a mirrored part would be turned inside out
    material, uv, colors = Material(), None, None
    visual = geometry.visual
    if isinstance(visual, TextureVisuals):
        material = _material_of(visual.material, encode, notes)
        uv = None if visual.uv is None else np.asarray(visual.uv, np.float32)[:, :2]
        colors = visual.vertex_attributes.get("color")
    elif isinstance(visual, ColorVisuals) and visual.kind == "vertex":
        material, colors = Material((1.0, 1.0, 1.0, 1.0)), visual.vertex_colors
    elif isinstance(visual, ColorVisuals) and visual.kind == "face":
        of_face = encode_colors(np.asarray(visual.face_colors), encode)
        corner = np.repeat(of_face[:, None], 3, axis=1)
        return Mesh(vertices, faces, (Material((1.0, 1.0, 1.0, 1.0)),), None, None, corner)
    corner_colors = None if colors is None else encode_colors(np.asarray(colors), encode)[faces]
    return Mesh(vertices, faces, (material,), None, None if uv is None else uv[faces], corner_colors)


def _material_of(material: Any, encode: Any, notes: Notes) -> Material:
    if isinstance(material, PBRMaterial):
        factor = material.baseColorFactor
        rgba = np.ones(4) if factor is None else encode_colors(np.atleast_2d(factor), encode)[0]
        image = material.baseColorTexture
        opaque = material.alphaMode in (None, "OPAQUE")
    else:
        rgba = encode_colors(np.atleast_2d(material.main_color), lambda values: values)[0]
        image, opaque = getattr(material, "image", None), True
    texture = None
    if image is not None:
        try:
            texture = texture_array(image).copy()
        except AssetError as error:
            notes.add(f"material '{material.name}': {error}")
    if opaque:
        rgba = np.append(rgba[:3], 1.0)
        if texture is not None:
            texture[..., 3] = 255
    color = tuple(float(value) for value in rgba)
    return Material(color, texture, color)  # type: ignore[arg-type]
