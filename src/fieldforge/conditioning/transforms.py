"""Transforms for the condition of a training sample: a caption, a view, or their stored features.

They are transforms of the data module (`data/transforms.py`): pure functions of (sample, generator). Samples may be
latents alone; views and features then come from other shards, by the sample's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fieldforge.conditioning.condition import FeatureRow
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.sample_pictures import view_numbers, view_of
from fieldforge.conditioning.stored import FIELDS, KeyedEmbeddings, KeyedShards, embedding_folder, has_embeddings
from fieldforge.data.manifest import read_manifest
from fieldforge.data.transforms import Transform
from fieldforge.errors import UserError
from fieldforge.ranges import Count


class View:
    """`image`: one of the sample's views, uint8 RGBA (H, W, 4); for a picture, the picture itself.

    Args:
        root: sample shards that hold the views, by key; None: the sample holds them itself.
        views: numbers of the views to choose from; None: all.
        lit: relight the view at random; pictures stay as they are.
    """

    def __init__(self, root: str | None = None, views: Sequence[int] | None = None, lit: bool = False) -> None:
        self.shards = None if root is None else KeyedShards(root)
        self.views = None if views is None else tuple(views)
        self.lit = lit

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        stored = sample if self.shards is None else self.shards.read(sample["__key__"])
        views = view_numbers(stored) if self.views is None else self.views
        view = views[int(generator.integers(len(views)))]
        return {"image": view_of(stored, view, generator if self.lit else None)}


class SeveralViews:
    """`images`: some of the sample's views at random, uint8 RGBA (V, H, W, 4); places without one are transparent.

    Args:
        count: V, the most; a sample with fewer views gives all of them.
        least: of a sample.
        root, lit: see `View`.
    """

    def __init__(self, count: Count = 4, least: Count = 1, root: str | None = None, lit: bool = False) -> None:
        if least > count:
            raise UserError(f"SeveralViews gives {least} to {count} views: least= must not be more than count=")
        self.count, self.least, self.lit = count, least, lit
        self.shards = None if root is None else KeyedShards(root)

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        stored = sample if self.shards is None else self.shards.read(sample["__key__"])
        views = view_numbers(stored)
        number = min(len(views), int(generator.integers(self.least, self.count + 1)))
        chosen = generator.choice(len(views), number, replace=False)
        pictures = [view_of(stored, views[int(place)], generator if self.lit else None) for place in chosen]
        return {"images": np.stack([*pictures, *[np.zeros_like(pictures[0])] * (self.count - number)])}


class FromSample:
    """Applies a transform to the sample with the same key in other shards: latents have their pictures there.

    Args:
        root: folder of these shards.
        transform: applied to their samples.
    """

    def __init__(self, root: str, transform: Transform) -> None:
        self.shards, self.transform = KeyedShards(root), transform

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return self.transform(self.shards.read(sample["__key__"]), generator)


class StoredFeatures:
    """`features`: source → FeatureRow of the sample's random caption, or of its `view`, or else of a random one.

    Args:
        root: data whose `embeddings/<source>` hold the features.
        sources: names of the sources to read.
        views: numbers of the views to choose from; None: all.
    """

    def __init__(self, root: str, sources: Sequence[str], views: Sequence[int] | None = None) -> None:
        self.root, self.sources = root, tuple(sources)
        self.stored = {name: KeyedEmbeddings(embedding_folder(root, name)) for name in sources}
        self.views = None if views is None else tuple(views)
        self._of_these_data: set[str] = set()

    def shards(self, name: str) -> KeyedEmbeddings:
        """The stored features of a source. UserError unless they were made from the data as they are now."""
        stored = self.stored[name]
        if name not in self._of_these_data:
            if stored.manifest.extra.get("data") != read_manifest(self.root).fingerprint:
                raise UserError(
                    f"{stored.root}: was made from other data than {self.root} now holds: remove that folder and run "
                    f"`python prepare.py embed={name} shards={self.root}`."
                )
            self._of_these_data.add(name)
        return stored

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        # One for all sources that look at a view; where the sample begins with a view of its own, that one.
        view = int(sample["view"]) if "view" in sample else int(generator.integers(2**31))
        return {"features": {name: self._row(name, sample, view) for name in self.sources}}

    def _row(self, name: str, sample: Mapping[str, Any], view: int) -> FeatureRow:
        shards = self.shards(name)
        stored = shards.read(sample["__key__"])
        rows = stored["meta.json"]["rows"]
        if isinstance(rows[0], str):
            if "caption" not in sample:
                raise UserError(
                    "data.transforms: StoredFeatures of texts comes after a transform that draws the caption (Labels)."
                )
            if sample["caption"] not in rows:
                raise UserError(
                    f"{shards.root}: sample {sample['__key__']!r} has no features of the caption "
                    f"{sample['caption']!r}: run `python prepare.py embed={name} shards={self.root}` again."
                )
            row = rows.index(sample["caption"])
        else:
            chosen = [row for row, number in enumerate(rows) if self.views is None or number in self.views]
            if not chosen:
                raise UserError(f"{shards.root}: sample {sample['__key__']!r} has none of the views {self.views}.")
            row = chosen[view % len(chosen)]
        arrays = {field: np.array(stored[f"{field}.npy"][row]) for field in FIELDS if f"{field}.npy" in stored}
        if "mask" in arrays:  # the padding to the longest of the sample's captions stays behind
            length = int(np.flatnonzero(arrays["mask"])[-1]) + 1
            arrays |= {"tokens": arrays["tokens"][:length], "mask": arrays["mask"][:length].astype(bool)}
        return FeatureRow(shards.manifest.extra["fingerprint"], **arrays)


def missing_features(transforms: Iterable[object], conditioner: Conditioner) -> list[tuple[str, str]]:
    """Root and source of the features that the `StoredFeatures` among the transforms will read and that are not there.

    Raises UserError where stored features are another encoder's.
    """
    missing = []
    for transform in transforms:
        if not isinstance(transform, StoredFeatures):
            continue
        for name in transform.sources:
            if has_embeddings(transform.root, name):
                conditioner.check_encoder(name, transform.shards(name).manifest.extra["fingerprint"])
            else:
                missing.append((str(transform.root), name))
    return missing
