"""Where shards may be: folders, several of them, manifests, globs, braces."""

from pathlib import Path

import pytest
from tests.data.make import write_latents, write_spheres

from fieldforge.data.shards import ShardSet, open_shards
from fieldforge.errors import UserError


def names(shards: ShardSet) -> list[str]:
    return [f"{Path(store.url).name}/{entry.name}" for store, entry in shards]


def test_every_way_to_name_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        write_latents(tmp_path / folder, 6, 2)
    (tmp_path / "no_manifest").mkdir()
    whole = [f"a/train-00000{number}.tar" for number in range(3)]
    both = whole + [name.replace("a/", "b/") for name in whole]
    assert names(open_shards(tmp_path / "a", "train")) == whole
    assert names(open_shards(f"{tmp_path}/a/manifest.json", "train")) == whole
    assert names(open_shards([tmp_path / "a", tmp_path / "b"], "train")) == both
    assert names(open_shards(f"{tmp_path}/{{a,b}}", "train")) == both
    assert names(open_shards(f"{tmp_path}/*", "train")) == both
    assert names(open_shards(f"{tmp_path}/*/train-*1.tar", "train")) == [both[1], both[4]]
    assert names(open_shards(f"{tmp_path}/a/train-{{000000..000001}}.tar", "train")) == whole[:2]
    monkeypatch.chdir(tmp_path / "a")
    assert open_shards(".", "train").samples == 6
    assert open_shards("train-000002.tar", "train").samples == 2


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_latents(tmp_path / "latents", 2, 2)
    write_spheres(tmp_path / "spheres", 2, 2)
    with pytest.raises(UserError, match="read one kind"):
        open_shards([tmp_path / "latents", tmp_path / "spheres"], "train")
    with pytest.raises(UserError, match=r"no shard train-000007\.tar"):
        open_shards(tmp_path / "latents" / "train-000007.tar", "train")
    with pytest.raises(UserError, match=r"nowhere/manifest\.json: there is no manifest"):
        open_shards(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match="no place"):
        open_shards(f"{tmp_path}/*/train-*.zip/*.tar", "train")
    with pytest.raises(UserError, match="'heldout'"):
        open_shards(tmp_path / "latents", "heldout")


def test_a_missing_folder_is_said_with_the_place_that_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"^{tmp_path}/nowhere/manifest.json: there is no manifest"):
        open_shards("nowhere", "train")
