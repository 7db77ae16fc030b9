"""Do generated shapes follow their prompts? Judged by the training shapes that they come closest to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fieldforge.errors import UserError
from fieldforge.metrics.clouds import Floats, chamfer_matrix, normalized_cloud


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
    """
    nearest = np.full(len(generated), -1)
    shaped = [index for index, cloud in enumerate(generated) if len(cloud)]
    if shaped:
        distances = chamfer_matrix(
            [normalized_cloud(generated[index]) for index in shaped],
            [normalized_cloud(cloud) for cloud in training],
            squared=False,
        )
        nearest[shaped] = distances.argmin(axis=1)
    return nearest


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
