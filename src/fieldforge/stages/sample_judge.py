"""The judge of generated samples: the same measures for evaluations, comparisons and trainings.

Axis letter: N samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Domain, Outputs, SetOfViews
from fieldforge.metrics.measures import MEASURES

NAN = float("nan")


class Asked(Protocol):
    """What a sample is asked to be: the name and the class of training samples in lower case; None: nothing is."""

    @property
    def name(self) -> str | None: ...

    @property
    def kind(self) -> str | None: ...


@dataclass(frozen=True)
class Measurements:
    """Of N samples.

    Args:
        rows: measure → (N,) values; NaN where it does not apply.
        sets: split → measures of the set of samples.
        nearest: (N,) index of the nearest training sample; -1 for an empty sample.
        described: what the domain counts of each sample; None of an empty one.
    """

    rows: Mapping[str, NDArray[np.float64]]
    sets: Mapping[str, Mapping[str, float]]
    nearest: NDArray[np.int64]
    described: Sequence[Mapping[str, float] | None]


@dataclass(frozen=True)
class SampleJudge:
    """Measures generated samples by the training samples.

    Args:
        domain: of all samples.
        metas, signatures: of the training samples.
        references: split → signatures, for measures of sets.
        views: split → views of stored samples, for further measures of sets.
    """

    domain: Domain
    metas: list[dict[str, Any]]
    signatures: list[np.ndarray]
    references: Mapping[str, Sequence[np.ndarray]]
    views: Mapping[str, SetOfViews] = field(default_factory=dict)

    @staticmethod
    def of(domain: Domain, root: Any, views: int = 0) -> SampleJudge:
        """By the sample shards at `root`, and by so many views of each. UserError where there are none."""
        metas, signatures = stored_samples(domain, root)
        sets = references(domain, root, signatures)
        seen = {split: domain.stored_views(open_shards(root, split), views) for split in sets} if views else {}
        return SampleJudge(domain, metas, signatures, sets, seen)

    @cached_property
    def stored_distance(self) -> float:
        """The mean distance of held-out samples to their nearest training samples; NaN without any."""
        heldout = self.references.get("heldout", ())
        nearest = self.domain.nearest(heldout, self.signatures) if len(heldout) else ()
        distances = [
            self.domain.distance(one, self.signatures[place]) for one, place in zip(heldout, nearest, strict=True)
        ]
        return float(np.mean(distances)) if distances else NAN

    def measure(
        self, asked: Sequence[Asked], outputs: Sequence[Outputs], splits: Sequence[str] | None = None
    ) -> Measurements:
        """The measures of N samples, and of their set against `splits`; None: against all."""
        signatures = [signature for output in outputs for signature in self.domain.signatures(output)]
        nearest = self.domain.nearest(signatures, self.signatures)
        described = [None if output.is_empty else self.domain.describe(output) for output in outputs]
        parts = zip(asked, described, signatures, nearest, strict=True)
        each = [self.values(one, numbers, signature, int(place)) for one, numbers, signature, place in parts]
        names = dict.fromkeys([*MEASURES, *(name for one in each for name in one)])  # a domain may count others
        rows = {name: np.array([one.get(name, NAN) for one in each]) for name in names}
        against = self.references if splits is None else {split: self.references[split] for split in splits}
        sets = {split: self.domain.compare_sets(signatures, stored) for split, stored in against.items()}
        for split, seen in self.views.items():
            sets[split] |= seen.compare(outputs)
        return Measurements(rows, {split: numbers for split, numbers in sets.items() if numbers}, nearest, described)

    def values(
        self, asked: Asked, described: Mapping[str, float] | None, signature: np.ndarray, nearest: int
    ) -> dict[str, float]:
        """The measures of one sample; `nearest`: index of its nearest training sample, -1 for an empty one."""
        empty = nearest < 0 or described is None
        meta = {} if empty else self.metas[nearest]
        values = {"empty": float(empty)}
        if asked.name is not None:
            values["name"] = float(meta.get("name", "").lower() == asked.name)
        if asked.kind is not None:
            values["class"] = float(meta.get("class") == asked.kind)
        if empty:
            return values
        distance = self.domain.distance(signature, self.signatures[nearest])
        novelty = distance / self.stored_distance if self.stored_distance > 0 else NAN
        return values | {"nearest_distance": distance, "novelty": novelty, **(described or {})}


def references(domain: Domain, root: Any, training: Sequence[np.ndarray]) -> dict[str, Sequence[np.ndarray]]:
    """Split → reference signatures for generated sets; the held-out split only if the data have one."""
    heldout = "heldout" in {
        split for manifest in open_shards(root, "train").manifests for split in manifest.shards.splits
    }
    return {"train": training} | ({"heldout": stored_samples(domain, root, "heldout")[1]} if heldout else {})


def stored_samples(
    domain: Domain, root: Any, split: str = "train"
) -> tuple[list[dict[str, Any]], list[NDArray[np.floating]]]:
    """Metadata and signature of every sample of a split."""
    metas, signatures = [], []
    transforms: list[Transform] = [*domain.input_transforms(), Meta()]
    for batch in HeldOut(open_shards(root, split), transforms, seed=0, batch_size=16):
        metas += batch["meta"]
        signatures += domain.stored_signatures(batch)
    return metas, signatures
