"""Which licences let a model be given away, and the list of what it was trained on."""

import csv

import pytest
from tests.runs.tiny import write_balls

from fieldforge.publishing.assets import Asset, licences, table, training_assets, unfree


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC0-1.0", True),
        ("CC-BY-4.0", True),
        ("cc by 3.0", True),
        ("Apache-2.0", True),
        ("MIT", True),
        ("CC-BY-SA-4.0", False),
        ("CC BY NC", False),
        ("CC-BY-ND-4.0", False),
        ("MITRE", False),
        ("GPL-3.0", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_only_licences_without_further_conditions_are_free(licence, free):
    assert unfree([Asset("chair", "me", licence, "1")]) == ([] if free else [licence or "none"])


def test_the_list_has_the_assets_of_the_training_split_alone(tmp_path):
    assets = training_assets(write_balls(tmp_path, train=4, heldout=2))
    assert [asset.id for asset in assets] == ["ball-2", "ball-1", "ball-0", "ball-3"]  # by name: blue, green, red
    assert licences(assets) == {"CC0": 4}


def test_the_list_is_csv_whatever_a_name_holds():
    assets = [Asset('a "b", c', "Zoë\nand others", "CC0", "1")]
    rows = list(csv.reader(table(assets).decode().splitlines(keepends=True)))
    assert rows == [["name", "creator", "licence", "id"], ['a "b", c', "Zoë\nand others", "CC0", "1"]]
