"""Transforms of stored samples to the fields of a batch: pure functions of (sample, generator), applied in order.

A transform reads a mapping of the stored members, decoded at their first access, and the fields of earlier transforms.
It returns the fields that it adds or replaces. The fields of all transforms become the batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fieldforge.errors import UserError
from fieldforge.storage.store import BadSampleError, MemberError

Transform = Callable[[Mapping[str, Any], np.random.Generator], dict[str, Any]]


def apply_transforms(
    sample: Mapping[str, Any], transforms: Sequence[Transform], generator: np.random.Generator
) -> dict[str, Any]:
    """Runs the transforms in order; returns the fields for the batch.

    BadSampleError for a sample that lacks what they read.
    """
    known = Known(sample)
    try:
        for transform in transforms:
            known.computed.update(transform(known, generator))
    except MemberError as error:
        raise BadSampleError(f"{_place(sample)}: {error}") from error
    except Exception as error:
        # A fault in the program, which may need this sample to show.
        error.add_note(f"(in a transform over {_place(sample)})")
        raise
    return known.computed


def _place(sample: Mapping[str, Any]) -> str:
    return f"{getattr(sample, 'shard', 'the sample')}, sample '{getattr(sample, 'key', '')}'"


class Known(Mapping[str, Any]):
    """The stored members, decoded at their first access, overlaid by the transforms' fields."""

    def __init__(self, stored: Mapping[str, Any]) -> None:
        self.stored = stored
        self.computed: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.computed[name] if name in self.computed else self.stored[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self.stored), **self.computed})

    def __len__(self) -> int:
        return len(set(self.stored) | set(self.computed))

    def __contains__(self, name: object) -> bool:
        return name in self.computed or name in self.stored


class Key:
    """`key`: the sample's name in its shard."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        assert isinstance(sample, Known)
        return {"key": sample.stored.key}  # type: ignore[attr-defined]


class Meta:
    """`meta`: the sample's metadata as stored."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {"meta": sample["meta.json"]}


class Labels:
    """`caption`: one of the sample's captions at random; `class`: its class.

    Args:
        languages: of the captions: `en` means `captions`, others are keys of `captions_by_language`. All listed
            languages that the sample has are equally likely; a sample with none of them gives `en`.
    """

    def __init__(self, languages: Sequence[str] = ("en",)) -> None:
        if not languages:
            raise UserError("data transforms: Labels needs at least one language, such as languages=[en].")
        self.languages = tuple(languages)

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        meta = sample["meta.json"]
        offered = [texts for language in self.languages if (texts := _captions(meta, language))] or [meta["captions"]]
        if not meta["captions"]:
            raise MemberError("meta.json has no caption, which the training reads; give the asset a name or a caption.")
        texts = offered[int(generator.integers(len(offered)))] if len(offered) > 1 else offered[0]
        return {"caption": texts[int(generator.integers(len(texts)))], "class": meta["class"]}


class Latent:
    """`latent (T, C)`, normalised as stored."""

    def __call__(self, sample: Mapping[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        return {"latent": sample["latent.npy"].astype(np.float32)}


def _captions(meta: Mapping[str, Any], language: str) -> list[str]:
    texts = meta["captions"] if language == "en" else meta["captions_by_language"].get(language, [])
    return [texts] if isinstance(texts, str) else list(texts)
