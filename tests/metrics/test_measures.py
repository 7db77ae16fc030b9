"""Every measure that a domain computes is in the list of measures."""

import re
from pathlib import Path

import pytest

from fieldforge.domains.clip import ClipDomain
from fieldforge.domains.image import ImageDomain
from fieldforge.domains.shape import ShapeDomain
from fieldforge.metrics.measures import MEASURES, Measure

SOURCES = Path(__file__).resolve().parents[2] / "src" / "fieldforge" / "domains"


@pytest.mark.parametrize("domain", [ShapeDomain, ImageDomain, ClipDomain])
def test_what_a_domain_shows_is_listed(domain):
    assert {*domain.shown_measures, *domain.quarters_by} <= MEASURES.keys()


@pytest.mark.parametrize("name", ["shape_measures", "image", "clip", "picture_features"])
def test_what_a_domain_measures_is_listed(name):
    source = (SOURCES / f"{name}.py").read_text()
    bodies = re.findall(r"def (?:measure|describe|compare)[a-z_]*\(.*?(?=\n *def |\Z)", source, re.S)
    names = {key for body in bodies for key in re.findall(r'"([a-z_0-9]+)": ', body)}
    assert len(names) >= 2
    assert names <= MEASURES.keys()


def test_values_for_people():
    share, decibel, plain = (Measure("a", "a", unit, "higher", "none") for unit in ("share", "dB", ""))
    assert share.text(0.1234) == "12.3 %"
    assert decibel.text(21.456) == "21.46 dB"
    assert plain.text(1 / 3) == "0.333"
    assert plain.text(float("nan")) == "—"
