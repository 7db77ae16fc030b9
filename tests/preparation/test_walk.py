"""Files below a folder, through links, without running in circles or out of it."""

from pathlib import Path

from fieldforge.preparation.walk import MAX_VISITS, walk


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_links_inside_are_followed_and_circles_end(tmp_path):
    write(tmp_path / "a/x.obj")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a/up").symlink_to(tmp_path)
    result = walk(tmp_path)
    assert "a/x.obj" in result.files
    assert "b/x.obj" in result.files
    assert not result.left_out


def test_links_that_lead_out_or_nowhere_are_named(tmp_path):
    write(tmp_path / "other/secret.obj")
    root = tmp_path / "root"
    write(root / "x.obj")
    (root / "out").symlink_to(tmp_path / "other")
    (root / "gone").symlink_to(tmp_path / "nothing")
    (root / "self").symlink_to(root / "self")
    result = walk(root)
    assert result.files == ["x.obj"]
    reasons = dict(result.left_out)
    assert reasons == {
        "out": "it leads out of the folder",
        "gone": "it leads nowhere",
        "self": "it leads nowhere",
    }


def test_one_folder_under_many_names_ends(tmp_path):
    write(tmp_path / "a/x.obj")
    for number in range(MAX_VISITS + 2):
        (tmp_path / f"link{number}").symlink_to(tmp_path / "a")
    result = walk(tmp_path)
    assert len(result.files) == MAX_VISITS
    assert len(result.left_out) == 3
