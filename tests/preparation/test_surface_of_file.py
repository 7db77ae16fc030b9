"""One mesh file that a user has typed, prepared in memory."""

from pathlib import Path

import numpy as np
import pytest
from tests.preparation.make import CUBE_OBJ, LIMITS

from fieldforge.preparation.asset import members_of_file
from fieldforge.readers.file_store import AssetError, FolderStore


def test_a_typed_link_is_read_wherever_it_ends(tmp_path: Path):
    """Caches of hubs and of data versions keep contents under checksums, without an ending."""
    content = tmp_path / "cache" / "2f" / "9a81c0"
    content.parent.mkdir(parents=True)
    content.write_text(CUBE_OBJ)
    link = tmp_path / "mine" / "cube.obj"
    link.parent.mkdir()
    link.symlink_to(content)
    points = members_of_file(link, 64, LIMITS, 0)["surface_points.npy"]
    np.testing.assert_allclose(np.abs(points).max(1), 0.9, atol=1e-3)


def test_no_other_link_may_lead_out(tmp_path: Path):
    outside, folder = tmp_path / "secret.png", tmp_path / "mine"
    outside.write_bytes(b"secret")
    folder.mkdir()
    (folder / "texture.png").symlink_to(outside)
    with pytest.raises(AssetError, match=r"the link 'texture\.png' leads out"):
        FolderStore(folder, 100, typed="cube.obj").read("texture.png")
