"""Which assets are held out, in sets of any size."""

from pathlib import Path

import pytest
from tests.preparation.make import CUBE_OBJ, record, tiny_settings, write_cubes

from fieldforge.data.heldout import HeldOut
from fieldforge.data.index import check_folder
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta
from fieldforge.engines.engine import LocalEngine
from fieldforge.preparation.asset_records import AssetRecord, hash_of, split_of, stem
from fieldforge.preparation.folder import FolderSource
from fieldforge.preparation.pipeline import prepare
from fieldforge.preparation.splits import assign_splits, uneven

NAMES = ["chair", "table", "lamp", "sofa", "bed", "desk", "shelf", "stool", "bench", "mirror", "rug", "vase"]


def assets(*names: str, **changes: object) -> list[AssetRecord]:
    return [record(f"{name}.obj", Path("x"), name=name, **changes) for name in names]


def of_split(name: str) -> list[str]:
    return [each for each in NAMES if split_of(each, 0.3) == name]


def test_where_the_hash_fills_both_splits_it_alone_decides():
    splits, sentence = assign_splits(assets(*NAMES), 0.3)
    assert splits == {f"{name}.obj": split_of(name, 0.3) for name in NAMES}
    assert set(splits.values()) == {"train", "heldout"}
    assert not sentence


@pytest.mark.parametrize(("empty", "nearest"), [("heldout", min), ("train", max)])
def test_the_name_nearest_to_the_border_goes_to_an_empty_split(empty: str, nearest):
    names = [name for name in NAMES if split_of(name, 0.3) != empty]
    splits, sentence = assign_splits(assets(*names), 0.3)
    assert [asset for asset, split in splits.items() if split == empty] == [f"{nearest(names, key=hash_of)}.obj"]
    assert f"in the split '{empty}'" in sentence


def test_variants_stay_together_while_something_is_left():
    chairs = [f"{of_split('train')[0]} {number}" for number in range(1, 6)]
    other = of_split("train")[1:3]
    splits, _ = assign_splits(assets(*chairs, *other), 0.1)
    assert {splits[f"{name}.obj"] for name in chairs} == {"train"}
    assert sorted(splits.values()).count("heldout") == 1


@pytest.mark.parametrize("name", ["mesh", "thing", "chair", "table", "object"])
@pytest.mark.parametrize("count", [2, 5, 300])
def test_variants_of_one_thing_are_split_by_themselves(name: str, count: int):
    records = assets(*(f"{name} {number:04d}" for number in range(count)))
    assert len({stem(record.name) for record in records}) == 1
    splits, sentence = assign_splits(records, 0.1)
    share = sum(split == "heldout" for split in splits.values()) / count
    assert sentence
    assert 0 < share < (1 if count == 2 else 0.5 if count == 5 else 0.2)


def test_what_the_source_says_stays():
    splits, sentence = assign_splits(assets("a", "b", split="train"), 0.5)
    assert (set(splits.values()), sentence) == ({"train"}, "")
    splits, _ = assign_splits([*assets("a", "b", split="heldout"), *assets("chair", "table")], 0.999999)
    assert splits["a.obj"] == splits["b.obj"] == "heldout"
    assert "train" in splits.values()


def test_one_asset_and_a_share_of_nothing_are_trained_on():
    for name in NAMES:
        assert assign_splits(assets(name), 0.5)[0] == {f"{name}.obj": "train"}
    splits, sentence = assign_splits(assets(*NAMES), 0.0)
    assert (set(splits.values()), sentence) == ({"train"}, "")


def test_prepared_sets_of_few_assets_hold_both_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    for count in (1, 2, 3):
        output = tmp_path / f"shards{count}"
        source = write_cubes(tmp_path / f"cubes{count}", count)
        report = prepare(source, tiny_settings(), 0, output, LocalEngine(1))
        assert report.manifest.extra["splits"] == ({"train": 1} if count == 1 else {"train": count - 1, "heldout": 1})
        check_folder(output)
    for split in ("train", "heldout"):
        shards = open_shards(tmp_path / "shards3", split)
        (batch,) = HeldOut(shards, [Meta()], seed=0, batch_size=3)
        assert {meta["split"] for meta in batch["meta"]} == {split}
    assert caplog.text.count("went there") == 2


def test_rejected_assets_do_not_count(tmp_path: Path):
    folder = tmp_path / "assets"
    folder.mkdir()
    names = of_split("train")[:2]
    for name in names:
        (folder / f"{name}.obj").write_text(CUBE_OBJ)
    (folder / f"{of_split('heldout')[0]}.obj").write_text("nothing")
    source = FolderSource(str(folder), None, None, "CC0-1.0", "me", {})
    report = prepare(source, tiny_settings(heldout_share=0.3), 0, tmp_path / "shards", LocalEngine(1))
    assert report.manifest.extra["splits"] == {"train": 1, "heldout": 1}


def series(name: str, count: int, **changes: object) -> list[AssetRecord]:
    return assets(*(f"{name} {number}" for number in range(count)), asset_class=name, **changes)


def test_a_class_that_is_held_out_as_a_whole_is_named():
    trained, lost = of_split("train")[0], of_split("heldout")[0]
    records = [*series(trained, 9), *series(lost, 4)]
    splits, sentence = assign_splits(records, 0.3)
    assert not sentence
    assert f"no model learns them: '{lost}' (4)" in uneven(records, splits, 0.3)


def test_a_share_that_is_far_from_the_one_wanted_is_said():
    trained, heldout = of_split("train")[0], of_split("heldout")[0]
    records = [*series(trained, 40, split="train"), *series(heldout, 60, split=None)]
    records += assets(trained, asset_class=heldout)
    splits, _ = assign_splits(records, 0.3)
    assert "60 of 101 assets are held out, not 30% of them" in uneven(records, splits, 0.3)


@pytest.mark.parametrize("count", [1, 12, 300, 5000])
def test_an_even_split_says_nothing(count: int):
    records = assets(*(f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}x" for n in range(count)))
    splits, _ = assign_splits(records, 0.1)
    assert uneven(records, splits, 0.1) == ""
