"""Views that a reconstructor is given, and those that are left to judge it."""

from typing import Any

import numpy as np
import pytest
from tests.data.make import sphere_sample

from fieldforge.conditioning.given_views import GivenViews
from fieldforge.data.shape_transforms import Augment, Surface, ViewRays, Views
from fieldforge.data.transforms import apply_transforms
from fieldforge.domains.shape import ShapeDomain
from fieldforge.domains.shape_truth import SpreadViews
from fieldforge.errors import UserError

GIVEN = {"given_rgba", "given_cameras", "given_fov", "given_mask", "given_numbers"}


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    return sphere_sample("a", 0.5, points=200, pixels=24, views=6)


def test_targets_are_never_among_the_given_views(sample: dict) -> None:
    numbers = set()
    for seed in range(12):
        transforms = [GivenViews(4), ViewRays(8, views=2), Views(2)]
        fields = apply_transforms(sample, transforms, np.random.default_rng(seed))
        count = int(fields["given_mask"].sum())
        numbers.add(count)
        given = fields["given_cameras"][:count, :3, 3]
        for eyes in (fields["view_cameras"][:, :3, 3], np.unique(fields["ray_origins"], axis=0)):
            assert np.linalg.norm(given[:, None] - eyes, axis=-1).min() > 0.1
    assert numbers == {1, 2, 3, 4}


def test_a_view_stays_a_target_whatever_the_count_is(sample: dict) -> None:
    fields = GivenViews(9, least=5)(sample, np.random.default_rng(0))
    assert fields["given_rgba"].shape == (9, 24, 24, 4)
    assert fields["given_mask"].tolist() == [1] * 5 + [0] * 4
    with pytest.raises(UserError, match="gives 6 views and leaves 1, and a shape has 6"):
        GivenViews(9, least=6)(sample, np.random.default_rng(0))
    with pytest.raises(UserError, match="GivenViews gives 3 to 2 views"):
        GivenViews(2, least=3)


def test_light_changes_colours_and_not_silhouettes(sample: dict) -> None:
    plain, lit = (GivenViews(3, least=3, lit=share)(sample, np.random.default_rng(0)) for share in (0.0, 1.0))
    np.testing.assert_array_equal(plain["given_rgba"][..., 3], lit["given_rgba"][..., 3])
    assert np.abs(plain["given_rgba"] - lit["given_rgba"]).max() > 0.05


def test_given_views_are_turned_and_mirrored_as_views_are(sample: dict) -> None:
    """Of which tests/data/test_views.py shows that their cameras see the turned sample."""

    def also_given(fields: Any, generator: np.random.Generator) -> dict[str, Any]:
        return {"given_rgba": fields["view_rgba"], "given_cameras": fields["view_cameras"]}

    for seed in range(4):
        transforms = [Surface(8), Views(3), also_given, Augment(12, mirror=True)]
        fields = apply_transforms(sample, transforms, np.random.default_rng(seed))
        np.testing.assert_array_equal(fields["given_cameras"], fields["view_cameras"])
        np.testing.assert_array_equal(fields["given_rgba"], fields["view_rgba"])


def test_evaluations_give_the_same_spread_views_and_compare_others(sample: dict) -> None:
    domain = ShapeDomain(points=64, given_views=3, views=2)
    transforms = [*domain.input_transforms(), *domain.truth_transforms()]
    first, second = (apply_transforms(sample, transforms, np.random.default_rng(seed)) for seed in (0, 1))
    assert fields_of(first) == GIVEN
    np.testing.assert_array_equal(first["given_cameras"], second["given_cameras"])
    apart = np.linalg.norm(first["given_cameras"][:, None, :3, 3] - first["cameras"][None, :, :3, 3], axis=-1)
    assert apart.min() > 0.1
    single = SpreadViews(1)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(single["given_rgba"][0], first["given_rgba"][0])


def fields_of(fields: dict[str, Any]) -> set[str]:
    return {name for name in fields if name.startswith("given_")}
