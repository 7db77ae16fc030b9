"""Prompt agreement of generated shapes, measured by their nearest training shapes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fieldforge.errors import UserError
from fieldforge.metrics.clouds import Floats, chamfer_matrix, normalized_cloud

PROBES, SHORTLIST = 128, 32  # points of a first look, shapes that get a second one


@dataclass(frozen=True)
class Agreement:
    """The share of generated shapes whose nearest training shape has the prompted label.

    share: of generated shapes; chance: the expected share of random training shapes; lift: share / chance.
    """

    share: float
    chance: float

    @property
    def lift(self) -> float:
        return self.share / self.chance


def nearest_shapes(generated: Sequence[Floats], training: Sequence[Floats]) -> NDArray[np.int64]:
    """Index (G,) of the training cloud nearest to each generated cloud.

    Clouds are (N, 3) points, uniform on the surface by area, with about equal N. The distance is chamfer_l1 between
    clouds normalised by their bounding boxes. A generated shape without surface, (0, 3), has none: -1.

    For speed a first pass compares all training shapes by about 128 points of each side; a second compares the best 32
    by all points.
    """
    clouds = [normalized_cloud(cloud) for cloud in training]
    trees = [cKDTree(cloud) for cloud in clouds]
    nearest = np.full(len(generated), -1)
    for index, shape in enumerate(generated):
        if not len(shape):
            continue
        cloud = normalized_cloud(shape)
        tree, few = cKDTree(cloud), _few(cloud)
        rough = [other.query(few)[0].mean() + tree.query(_few(other.data))[0].mean() for other in trees]
        shortlist = np.argsort(rough)[:SHORTLIST]
        distances = chamfer_matrix([cloud], [clouds[number] for number in shortlist], squared=False)
        nearest[index] = shortlist[distances[0].argmin()]
    return nearest


def _few(cloud: Floats) -> Floats:
    return cloud[:: max(1, len(cloud) // PROBES)]


def agreement(nearest: NDArray[np.integer], prompted: Sequence[str], training_labels: Sequence[str]) -> Agreement:
    """The share of i with `training_labels[nearest[i]] == prompted[i]`, and its expectation by chance.

    Labels are names or classes, the same kind in both lists; -1 in `nearest` agrees with no label. The chance of a
    label is its share of the training shapes, averaged over the prompts. Raises UserError for a prompted label that no
    training shape has.
    """
    assert len(nearest) == len(prompted) > 0, f"{len(nearest)} shapes for {len(prompted)} prompts"
    counts = Counter(training_labels)
    unknown = sorted(set(prompted) - set(counts))
    if unknown:
        raise UserError(
            f"No training shape is called {unknown[0]!r}, so a prompt for it cannot be judged by the nearest one: "
            f"leave it out or prompt with one of the {len(counts)} labels of the training set."
        )
    hits = [index >= 0 and training_labels[index] == label for index, label in zip(nearest, prompted, strict=True)]
    chance = np.mean([counts[label] for label in prompted]) / len(training_labels)
    return Agreement(float(np.mean(hits)), float(chance))
