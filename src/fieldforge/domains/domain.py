"""The contract of a domain: all that stages and commands know of what is generated.

A domain is chosen by the group `domain` and built by its `_target_`; no other room imports one. Axis letters: B
outputs, G and R signatures, T latent tokens, C latent channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.schema import Sample, Schema
from fieldforge.data.transforms import Transform
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.nn.latent_shape import LatentShape

Truth = Mapping[str, Any]
"""A batch that the transforms of `Domain.truth_transforms` made, with `meta`."""


class Outputs(Protocol):
    """B fields as things: shapes, pictures, sounds."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Outputs:
        """One of them, as B = 1."""
        ...

    @property
    def is_empty(self) -> bool:
        """Of one: whether there is nothing to write."""
        ...

    def picture(self, size: int) -> Image.Image:
        """Of one: size² pixels, for sheets and the gallery."""
        ...

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        """Write the files of one below `folder`; kind → file name, None for one that cannot be had."""
        ...

    def media(self) -> tuple[str, bytes] | None:
        """Of one: media type and content of what the gallery plays or turns, None where the picture is all."""
        ...


class Domain(ABC):
    """What is generated: shapes, pictures, sounds.

    `noun`: what one of them is called. `schema`: of its sample shards.
    `heads`: what the domain reads of a field's answers. `dimensions`: of its points.
    """

    noun: ClassVar[str] = "sample"
    schema: ClassVar[Schema]
    dimensions: ClassVar[int]
    heads: ClassVar[frozenset[str]]
    comparison_heads: ClassVar[tuple[str, ...]] = ("truth", "reconstruction")
    """Titles of the columns of `compare`."""
    shown_measures: ClassVar[tuple[str, ...]] = ()
    """Of `measure`, what stands beside each row of a sheet."""
    quarters_by: ClassVar[str] = ""
    """Of `measure`, by what reports also tell a split's quarters apart; empty: they do not."""

    def settings(self) -> dict[str, Any]:
        """All settings, by their arguments' names: reports say what was measured with."""
        return dict(vars(self))

    def determining(self) -> dict[str, Any]:
        """The settings that the autoencoder's input depends on; they are part of a run's identity."""
        return {}

    @abstractmethod
    def example(self) -> Sample:
        """A stored sample without values, by the schema: sizes of batches are found with it."""

    @abstractmethod
    def input_transforms(self) -> list[Transform]:
        """Stored sample → `input`, what an autoencoder encodes for latents, statistics and evaluations."""

    @abstractmethod
    def truth_transforms(self) -> list[Transform]:
        """Stored sample → what `compare` and `measure` look at."""

    def condition_transforms(self, keys: set[str]) -> list[Transform]:
        """Stored sample → what models are asked with besides captions and classes: `image`. UserError if none."""
        if "image" in keys:
            raise UserError("conditioner.sources: there are no pictures of the samples of this domain: leave it out")
        return []

    @abstractmethod
    def outputs(self, field: Field, params: Params, resolution: int | None = None) -> Outputs:
        """B decoded fields as things; `resolution`: of what is written and drawn, None: the domain's."""

    @abstractmethod
    def compare(self, outputs: Outputs, truth: Truth, size: int) -> list[list[Image.Image | None]]:
        """Truth and reconstruction: a row of pictures of size² pixels for each of B, as `comparison_heads` says."""

    @abstractmethod
    def measure(self, output: Outputs, truth: Truth) -> dict[str, float]:
        """Numbers of one reconstruction against its truth, both with B = 1."""

    def describe(self, output: Outputs) -> dict[str, float]:
        """Numbers of one generated output that need no truth, by name."""
        return {}

    @abstractmethod
    def signatures(self, outputs: Outputs) -> list[np.ndarray]:
        """What `nearest` and `distance` compare, one for each of B."""

    @abstractmethod
    def stored_signatures(self, batch: Truth) -> list[np.ndarray]:
        """The same of B stored samples, of a batch that `input_transforms` made."""

    @abstractmethod
    def nearest(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> NDArray[np.int64]:
        """Index (G,) among R signatures of the one nearest to each of G; -1 for an empty output."""

    @abstractmethod
    def distance(self, this: np.ndarray, that: np.ndarray) -> float:
        """Between two signatures."""

    def compare_sets(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> dict[str, float]:
        """How close G signatures of generated things as a set are to R stored ones, by the measure's name."""
        return {}

    def further_pictures(self, folder: Path) -> dict[str, np.ndarray]:
        """Sample id → RGBA picture (H, W, 4) by another renderer, out of a folder. UserError where there are none."""
        raise UserError(f"images.libraries={folder}: this domain knows no further pictures, leave it out")

    def read_file(self, path: Path, seed: int) -> Tensor:
        """`input` (1, …) of a user's file: what `sample.py from=` starts at. UserError for one that cannot be read."""
        raise UserError(f"from={path}: nothing of this domain can be read from a file, leave it out")

    def read_coarse(self, path: Path, shape: LatentShape) -> np.ndarray:
        """`coarse` (T, A) of a user's small file, which is to be enlarged. UserError for one that cannot be read."""
        raise UserError(f"from={path}: nothing of this domain is enlarged, leave it out")

    def interpolated(self, coarse: Tensor) -> Outputs:
        """What `coarse` (B, T, A) is without a model: the outputs that enlarging is measured against."""
        raise UserError(f"a {self.noun} is not enlarged: evaluate a run of another domain")

    def read_mask(self, path: Path, file: Path, shape: LatentShape) -> Tensor:
        """bool (T,): latent tokens of a user's `file` that are drawn anew. UserError for a mask that will not do."""
        raise UserError(f"mask={path}: a {self.noun} is not completed by a mask, leave it out")

    def pasted(self, outputs: Outputs, path: Path, file: Path) -> Outputs:
        """The outputs with what the mask in `path` keeps as it is in the user's `file`."""
        raise UserError(f"paste=true: nothing is pasted into a {self.noun}, leave it out")

    @torch.no_grad()
    def decode(self, autoencoder: Autoencoder, latents: Tensor, resolution: int | None = None) -> Outputs:
        """Latents (B, T, C) → things, in float32."""
        params = {name: value.float() for name, value in autoencoder.decode(latents).items()}
        return self.outputs(autoencoder.field, params, resolution)

    @torch.no_grad()
    def reconstruct(self, autoencoder: Autoencoder, samples: Tensor, resolution: int | None = None) -> Outputs:
        """`input` (B, …) → things, through the latents that the diffusion sees."""
        place = autoencoder.latent_mean.device
        return self.decode(autoencoder, autoencoder.encode(samples.to(place)), resolution)
