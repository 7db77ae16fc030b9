"""Captions, colour names, name stems and splits."""

import colorsys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.preparation.make import record

from fieldforge.preparation.asset_records import generator_for, split_of, stem
from fieldforge.preparation.captions import captions_of, color_name_of_each, main_color, with_article

RED = np.tile(np.uint8([200, 20, 20]), (10, 1))
BLUE = np.tile(np.uint8([20, 40, 200]), (7, 1))


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((255, 255, 255), "white"), ((0, 0, 0), "black"), ((128, 128, 128), "grey"), ((200, 20, 20), "red"),
        ((20, 140, 30), "green"), ((20, 40, 200), "blue"), ((240, 220, 20), "yellow"), ((240, 130, 20), "orange"),
        ((110, 66, 30), "brown"), ((222, 200, 160), "beige"), ((130, 40, 200), "purple"), ((240, 90, 170), "pink"),
        ((255, 190, 190), "pink"), ((18, 18, 22), "black"), ((210, 212, 215), "white"), ((30, 40, 80), "blue"),
    ],
)  # fmt: skip
def test_colour_names(rgb: tuple[int, int, int], name: str):
    assert color_name_of_each(np.array([rgb]) / 255)[0] == name


def test_every_colour_has_a_name():
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 12)] * 3), axis=-1).reshape(-1, 3)
    assert set(color_name_of_each(grid)) == {
        "white", "black", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "beige",
    }  # fmt: skip


def test_hues_go_round():
    names = [color_name_of_each(np.array([colorsys.hsv_to_rgb(hue, 1, 1)]))[0] for hue in np.arange(0, 1, 0.01)]
    assert names[0] == names[-1] == "red"
    assert list(dict.fromkeys(names)) == ["red", "orange", "yellow", "green", "blue", "purple", "pink"]


def test_a_main_colour_needs_two_fifths():
    assert main_color(np.concatenate([RED, BLUE])) == "red"
    rainbow = np.uint8([[200, 20, 20], [20, 40, 200], [20, 140, 30]])
    assert main_color(rainbow) is None


def test_captions_from_name_colour_tags_and_size(tmp_path: Path):
    chair = record("a", tmp_path, name="Oak chair", tags=("Seat", "chair"), size_cm=(45.2, 90.0, 50.0))
    assert captions_of(chair, RED) == [
        "Oak chair", "an oak chair", "a red oak chair", "an oak chair, seat",
        "an oak chair, 45 cm wide, 50 cm deep and 90 cm high",
    ]  # fmt: skip


def test_given_captions_come_first_and_nothing_repeats(tmp_path: Path):
    sofa = record("a", tmp_path, name="Red sofa", captions=("my sofa", "a red sofa"))
    assert captions_of(sofa, RED) == ["my sofa", "a red sofa", "Red sofa"]


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("sofa", "a sofa"), ("armchair", "an armchair"), ("trousers", "trousers"), ("bus", "a bus"),
        ("glass", "a glass"), ("cactus", "a cactus"), ("bowl with fruits", "a bowl with fruits"),
    ],
)  # fmt: skip
def test_articles(noun: str, expected: str):
    assert with_article(noun) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Sofa", "sofa"), ("Sofa 3 seats", "sofa"), ("Parking slot 45°", "parking slot"), ("TV 16:9", "tv"),
        ("Concept Sedan 02 Sport", "concept sedan"), ("Rounded type B plug", "rounded type plug"), ("chair2", "chair"),
        ("red_arm-chair_7", "red arm chair"), ("42", "42"), ("Frame Hôi An", "frame hôi an"),
    ],
)  # fmt: skip
def test_stems(name: str, expected: str):
    assert stem(name) == expected


def test_variants_share_a_split_and_the_share_is_right():
    assert len({split_of(f"Sofa {seats} seats", 0.5) for seats in range(9)}) == 1
    letters = [f"thing {a}{b}{c}" for a in "abcdefghijklm" for b in "nopqrst" for c in "uvwxyz" for _ in (0,)]
    counts = Counter(split_of(name, 0.1) for name in letters)
    assert 0.06 < counts["heldout"] / len(letters) < 0.14
    assert split_of("anything", 0.0) == "train"


def test_the_split_of_a_name_never_changes():
    """Held-out results stay comparable only as long as these do."""
    names = ["Table", "Armchair", "Bed", "Iron railing", "Bicycle", "Lamp"]
    assert [split_of(name, 0.1) for name in names] == ["heldout", "train", "train", "heldout", "train", "train"]


def test_generators_depend_on_seed_and_asset():
    draws = {(seed, asset): generator_for(seed, asset).integers(2**62) for seed in (0, 1) for asset in ("a", "b")}
    assert len(set(draws.values())) == 4
    assert generator_for(0, "a").integers(2**62) == draws[0, "a"]
