"""Draco-compressed primitives, decoded by DracoPy (Google's decoder with wheels for every system)."""

from dataclasses import dataclass

import numpy as np

from fieldforge.errors import UserError, install_command
from fieldforge.readers.file_store import AssetError
from fieldforge.readers.gltf.container import Json
from fieldforge.readers.gltf.document import Document


@dataclass(frozen=True)
class DracoMesh:
    """faces (F, 3) int64 and the attributes by their glTF names, each (P, width)."""

    faces: np.ndarray
    attributes: dict[str, np.ndarray]


def decode_draco(document: Document, compressed: Json) -> DracoMesh:
    """Mesh of a KHR_draco_mesh_compression extension. AssetError, which names Draco, if it cannot be decoded."""
    try:
        import DracoPy  # an optional dependency
    except ImportError as error:
        raise UserError(
            f"an asset is compressed by Draco, and the package DracoPy is not installed: {install_command('prepare')}."
        ) from error

    view, _ = document.view(compressed.get("bufferView"))
    try:
        mesh = DracoPy.decode(bytes(view))
        stored = {attribute["unique_id"]: np.atleast_2d(attribute["data"]) for attribute in mesh.attributes}
        faces = np.asarray(mesh.faces).astype(np.int64).reshape(-1, 3)
        names = compressed["attributes"]
        attributes = {name: stored[unique_id] for name, unique_id in names.items()}
    except Exception as error:  # the decoder fails in its own ways; the asset is rejected with its words
        raise AssetError(
            f"its Draco data cannot be decoded ({type(error).__name__}: {error}); export it without Draco compression."
        ) from error
    count = min((len(values) for values in attributes.values()), default=0)
    if faces.size and faces.max() >= count:
        raise AssetError("its Draco data refer to vertices that are not there; export it without Draco compression.")
    return DracoMesh(faces, attributes)
