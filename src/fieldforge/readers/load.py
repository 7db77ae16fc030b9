"""Loads asset files of any supported format as a `Mesh`."""

from fieldforge.geometry.mesh import Mesh
from fieldforge.readers.file_store import AssetError, FileStore, Notes, check_size
from fieldforge.readers.foreign import check_kind
from fieldforge.readers.gltf.read import read_gltf
from fieldforge.readers.limits import Limits
from fieldforge.readers.obj import read_obj
from fieldforge.readers.off import read_off
from fieldforge.readers.ply import read_ply
from fieldforge.readers.stl import read_stl

READERS = {"obj": read_obj, "glb": read_gltf, "gltf": read_gltf, "ply": read_ply, "stl": read_stl, "off": read_off}
"""Each checks itself what its file announces."""

MESH_ENDINGS = tuple(READERS)


def load_mesh(store: FileStore, name: str, limits: Limits, notes: Notes) -> Mesh:
    """Mesh of one file; sizes are checked before anything big is parsed. AssetError: why it cannot be used."""
    ending = name.rpartition(".")[2].lower()
    check_size(name, store.size(name), limits.max_file_bytes)
    if store.size(name) == 0:
        raise AssetError("the file is empty; export the mesh again.")
    check_kind(store, name)
    return READERS[ending](store, name, limits, notes)
