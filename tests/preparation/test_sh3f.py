"""Furniture libraries: properties, classes, catalogue sizes and rotations."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from tests.preparation.make import from_trimesh, record, write_library, write_zip

from fieldforge.errors import UserError
from fieldforge.preparation.asset import fit_to_catalogue
from fieldforge.preparation.furniture import FurnitureLibraries
from fieldforge.preparation.sh3f import class_of, parse_properties

CLASSES = {"storage": ["cabinet", "box"], "window_door": ["door"], "lighting": ["lamp"], "table": ["table"]}


def source(place: Path, **changes: object) -> FurnitureLibraries:
    values: dict[str, object] = {
        "package": "no-such-package", "cache": str(place / "cache"), "folder": str(place), "libraries": ["test"],
        "dropped_tags": ["Blend Swap"], "exclude": {"Test#scene": "it is a scene."},
        "licences": {"Attribution 3.0": "CC-BY-3.0"}, "classes": CLASSES,
    }  # fmt: skip
    return FurnitureLibraries(**{**values, **changes})  # type: ignore[arg-type]


def test_java_properties():
    text = (
        "# comment\n! comment\n a = b \nname\\ x:Stuhl\\u00e4\nlong=one \\\n   two\\\n\n"
        "path=C\\:\\\\x\nblank value\nempty=\nodd=ends with\\\\\nlatin=\xe9\n"
    )
    assert parse_properties(text.encode("latin-1")) == {
        "a": "b ", "name x": "Stuhlä", "long": "one two", "path": "C:\\x", "blank": "value", "empty": "",
        "odd": "ends with\\", "latin": "é",
    }  # fmt: skip


def test_catalogue_becomes_records(tmp_path: Path):
    write_library(tmp_path / "test.sh3f")
    cabinet, decal, scene = source(tmp_path).records(2**24)
    assert cabinet.name == "Glass door cabinet"
    assert cabinet.asset_class == "storage"
    assert cabinet.tags == ("Storage",)
    assert cabinet.size_cm == (100, 50, 25)
    assert cabinet.creator == "Jürgen"
    assert cabinet.licence == "CC-BY-3.0"
    assert cabinet.names_by_language == (("de", "Schrank mit Glastür"),)
    assert cabinet.file == "test/box/box.obj"
    assert decal.name == "Parking slot 45°"
    assert scene.reject == "it is a scene."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Glass door cabinet", "storage"), ("Door", "window_door"), ("Table lamp", "lighting"), ("Boxes", "storage"),
        ("Table with lamp", "table"), ("Tablet", "other"), ("Lamp, table", "lighting"), ("", "other"),
    ],
)  # fmt: skip
def test_class_is_that_of_the_last_keyword(name: str, expected: str):
    assert class_of(name, CLASSES) == expected


def slab() -> trimesh.Trimesh:
    return trimesh.creation.box((4, 2, 1))


def test_each_axis_is_scaled_to_the_catalogue(tmp_path: Path):
    fitted = fit_to_catalogue(from_trimesh(slab()), record("a", tmp_path, size_cm=(100.0, 50.0, 30.0)))
    np.testing.assert_allclose(np.ptp(fitted.bounds, axis=0), [100, 50, 30])


def test_rotation_is_applied_where_it_fits_and_left_out_where_it_is_stale(tmp_path: Path):
    quarter = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))  # (x, y) → (-y, x)
    mesh = from_trimesh(slab())
    turned = fit_to_catalogue(mesh, record("a", tmp_path, size_cm=(2.0, 4.0, 1.0), rotation=quarter))
    np.testing.assert_allclose(turned.vertices, mesh.vertices[:, [1, 0, 2]] * [-1, 1, 1], atol=1e-12)
    stale = fit_to_catalogue(mesh, record("a", tmp_path, size_cm=(4.0, 2.0, 1.0), rotation=quarter))
    np.testing.assert_allclose(stale.vertices, mesh.vertices)


def test_a_missing_library_and_a_zip_without_catalogue(tmp_path: Path):
    with pytest.raises(UserError, match=r"set source\.folder"):
        source(tmp_path).records(2**24)
    write_zip(tmp_path / "test.sh3f", {"x.txt": b"x"})
    with pytest.raises(UserError, match="not a furniture library"):
        source(tmp_path).records(2**24)


def test_without_apt_one_sentence_says_how_to_get_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"apt-get download no-such-package.*source\.folder"):
        source(tmp_path, folder=None).records(2**24)


def test_a_package_is_downloaded_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With stand-ins for the two tools that do what the real ones do to the working folder."""
    write_library(tmp_path / "test.sh3f")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text('#!/bin/sh\n[ "$1 $2" = "download some-package" ] && : > some-package_1_all.deb\n')
    inside = "$3/usr/share/sweethome3d/furniture"
    (tools / "dpkg-deb").write_text(
        f'#!/bin/sh\n[ -f "$2" ] && mkdir -p "{inside}" && cp {tmp_path}/test.sh3f "{inside}"\n'
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    fetched = source(tmp_path, folder=None, package="some-package")
    assert len(fetched.records(2**24)) == 3
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["some-package"]
    monkeypatch.setenv("PATH", "/nowhere")  # the second time nothing is fetched
    assert fetched.fingerprint().keys() == {"test.sh3f"}


def test_a_failing_download_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for tool in ("apt-get", "dpkg-deb"):
        (tmp_path / tool).write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(UserError, match=r"Unable to locate package.*source\.folder"):
        source(tmp_path, folder=None).records(2**24)
