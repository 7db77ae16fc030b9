"""Do generated shapes follow their prompts? Judged by the training shapes that they come closest to."""

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
    """How often the nearest training shape bears the prompted label.

    share: of generated shapes; chance: the share that random training shapes would reach; lift: share / chance.
    """

    share: float
    chance: float

    @property
    def lift(self) -> float:
        return self.share / self.chance


def nearest_shapes(generated: Sequence[Floats], training: Sequence[Floats]) -> NDArray[np.int64]:
    """Index (G,) of the training cloud that each generated one is closest to.

    Clouds are (N, 3) points, uniform on the surface by area, of about equal N everywhere; closest in chamfer_l1 after
    each is normalised by its bounding box. A generated shape without surface, (0, 3), is close to none: -1.

    To be quick, all training shapes are compared by about 128 points of each side, and the best 32 then by all points.
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
    """How often `training_labels[nearest[i]]` is `prompted[i]`, and how often it would be by chance.

    Labels may be names or classes, as long as both lists speak of the same; -1 in `nearest` agrees with nothing. By
    chance, a label is met as often as training shapes bear it; averaged over the prompts. Raises UserError for a
    prompted label that no training shape bears, as it could not be met.
    """
    assert len(nearest) == len(prompted) > 0, f"{len(nearest)} shapes for {len(prompted)} prompts"
    counts = Counter(training_labels)
    unknown = sorted(set(prompted) - set(counts))
    if unknown:
        raise UserError(
            f"No training shape is called {unknown[0]!r}, so a prompt for it cannot be judged by the nearest one: "
            f"leave it out or prompt with one of the {len(counts)} labels of the training set."
        )
    met = [index >= 0 and training_labels[index] == label for index, label in zip(nearest, prompted, strict=True)]
    chance = np.mean([counts[label] for label in prompted]) / len(training_labels)
    return Agreement(float(np.mean(met)), float(chance))
