"""The judge of samples: what a domain beside the package counts is measured too."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from fieldforge.stages.sample_judge import SampleJudge


@dataclass
class Asked:
    name: str | None = None
    kind: str | None = None


def test_numbers_of_a_domain_beside_the_package_are_measures():
    points = [np.zeros(1), np.ones(1)]
    domain = SimpleNamespace(
        signatures=lambda output: [output.place],
        nearest=lambda these, those: np.array([int(this[0]) for this in these]),
        distance=lambda this, that: float(abs(this - that).sum()),
        describe=lambda output: {"loudness": 3.0},
        compare_sets=lambda these, those: {},
    )
    judge = SampleJudge(domain, [{"name": "Bell", "class": "a"}, {"name": "gong", "class": "b"}], points, {})  # type: ignore[arg-type]
    outputs = [SimpleNamespace(place=np.zeros(1), is_empty=False), SimpleNamespace(place=np.ones(1), is_empty=True)]
    rows = judge.measure([Asked("bell", "b"), Asked()], outputs).rows  # type: ignore[arg-type]
    np.testing.assert_array_equal(rows["loudness"], [3, np.nan])
    assert (rows["name"][0], rows["class"][0], rows["nearest_distance"][0]) == (1, 0, 0)
    np.testing.assert_array_equal(rows["empty"], [0, 1])
