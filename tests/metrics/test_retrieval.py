import numpy as np
import pytest

from fieldforge.metrics.retrieval import Views, own_and_others, top_share

AXES = np.eye(3)


def test_cosines_are_gathered_by_asset():
    views = Views([AXES[:2], AXES[2:], -5 * AXES[:1]])  # 2, 1 and 1 views
    cosines = views.cosines(np.array([[3.0, 4.0, 0.0], [0.0, 0.0, -2.0]]))
    np.testing.assert_allclose(cosines, [[0.6, 0.8, 0, -0.6], [0, 0, -1, 0]])
    np.testing.assert_allclose(views.mean(cosines), [[0.7, 0, -0.6], [0, -1, 0]])
    np.testing.assert_allclose(views.best(cosines), [[0.8, 0, -0.6], [0, -1, 0]])
    assert [views.place(row) for row in range(4)] == [(0, 0), (0, 1), (1, 0), (2, 0)]
    assert views.between_views() == 0


def test_own_others_and_top_by_hand():
    cosines = np.array([[0.9, 0.1, 0.2, 0.2], [0.5, 0.4, 0.6, 0.0], [0.3, 0.3, 0.1, 0.0]])
    meant = np.array([0, 1, 1])
    own, others = own_and_others(cosines, meant)
    assert own == pytest.approx((0.9 + 0.4 + 0.3) / 3)
    assert others == pytest.approx((0.1 + 0.2 + 0.2 + 0.5 + 0.6 + 0.0 + 0.3 + 0.1 + 0.0) / 9)
    assert [top_share(cosines, meant, count) for count in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])


def test_random_embeddings_reach_chance():
    rng = np.random.default_rng(0)
    views = Views([rng.normal(size=(4, 16)) for _ in range(20)])
    cosines = views.cosines(rng.normal(size=(4000, 16)))
    meant = np.arange(4000) % 20
    own, others = own_and_others(views.mean(cosines), meant)
    assert own - others == pytest.approx(0, abs=0.01)
    assert top_share(views.best(cosines), meant, 1) == pytest.approx(1 / 20, abs=0.015)
    assert top_share(views.best(cosines), meant, 5) == pytest.approx(5 / 20, abs=0.03)


def test_a_view_finds_its_own_asset():
    rng = np.random.default_rng(1)
    views = Views([rng.normal(size=(3, 16)) for _ in range(10)])
    cosines = views.cosines(np.stack([some[0] for some in views.vectors]))
    assert top_share(views.best(cosines), np.arange(10), 1) == 1
    assert views.place(int(cosines[4].argmax())) == (4, 0)
