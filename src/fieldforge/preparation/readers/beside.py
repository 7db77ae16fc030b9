"""Files that an asset refers to by name."""

import logging

from fieldforge.preparation.stores import AssetError, FileStore, normal_member

log = logging.getLogger(__name__)


def read_beside(store: FileStore, folder: str, reference: str) -> bytes | None:
    """A file that an asset refers to, relative to the asset's folder, or beside it where the path is another machine's.

    None if it is not there. Paths never leave the store.
    """
    base = reference.replace("\\", "/").rpartition("/")[2]
    for candidate in dict.fromkeys((reference.replace("\\", "/"), base)):
        try:
            return store.read(normal_member(f"{folder}/{candidate}" if folder else candidate))
        except AssetError as error:
            log.debug("%s", error)
    return None
