"""The contract of a domain: the only interface of stages and commands to the kind of data.

The config group `domain` chooses a domain and its `_target_` builds it; no other room imports a concrete domain. Axis
letters: B outputs, G generated signatures, R reference signatures, T latent tokens, C latent channels, A numbers of an
aligned condition at each token.
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
from fieldforge.data.shards import ShardSet
from fieldforge.data.transforms import Transform
from fieldforge.domains.file_settings import FileSettings
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.nn.latent_shape import LatentShape

Truth = Mapping[str, Any]
"""A batch after the transforms of `Domain.input_transforms` and `Domain.truth_transforms`, with `meta`."""


class Outputs(Protocol):
    """B decoded samples: shapes, pictures, sounds. Methods for one sample require B = 1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Outputs:
        """One sample, with B = 1."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether one sample has no content to write."""
        ...

    def picture(self, size: int) -> Image.Image:
        """Picture of one sample, RGBA, size × size pixels, for sheets and the gallery."""
        ...

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        """Write the files of one sample into `folder`; kind → file name, None for a file that could not be written."""
        ...

    def media(self) -> tuple[str, bytes] | None:
        """Media type and content of one sample for the gallery's player or viewer; None: the picture alone."""
        ...


class SetOfViews(Protocol):
    """Views of stored samples."""

    def compare(self, outputs: Sequence[Outputs]) -> dict[str, float]:
        """Measure → value for the views of a set of outputs, B = 1 each, against these."""
        ...


class Domain(ABC):
    """A kind of data: shapes, pictures, sounds.

    noun: the word for one sample. medium: the word of model hubs for outputs (3d, image, video, audio). schema: of its
    sample shards. dimensions: d of a field's points. heads: the heads that the domain reads from a field.
    """

    noun: ClassVar[str] = "sample"
    medium: ClassVar[str] = ""
    schema: ClassVar[Schema]
    dimensions: ClassVar[int]
    heads: ClassVar[frozenset[str]]
    comparison_heads: ClassVar[tuple[str, ...]] = ("truth", "reconstruction")
    """Titles of the columns of `compare`."""
    shown_measures: ClassVar[tuple[str, ...]] = ()
    """Measures of `measure` that a sheet shows beside each row."""
    quarters_by: ClassVar[tuple[str, ...]] = ()
    """Measures of `measure` that tell how difficult a sample is; reports divide a split into quarters by each."""

    def settings(self) -> dict[str, Any]:
        """All settings by argument name, for reports of measurements."""
        return dict(vars(self))

    def determining(self) -> dict[str, Any]:
        """The settings that determine the autoencoder's input; they are part of a run's fingerprint."""
        return {}

    @abstractmethod
    def example(self) -> Sample:
        """A stored sample with placeholder values, from which plan and rehearsal take the sizes of batches."""

    @abstractmethod
    def input_transforms(self) -> list[Transform]:
        """Stored sample → what the autoencoder reads, `input` first: for latents, statistics and evaluations."""

    @abstractmethod
    def truth_transforms(self) -> list[Transform]:
        """Stored sample → ground truth for `compare` and `measure`."""

    def condition_transforms(self, keys: set[str]) -> list[Transform]:
        """Stored sample → conditions besides captions and classes: `image`. UserError if the domain has none."""
        if "image" in keys:
            raise UserError("conditioner.sources: there are no pictures of the samples of this domain: leave it out")
        return []

    @abstractmethod
    def outputs(self, field: Field, params: Params, resolution: int | None = None) -> Outputs:
        """Outputs of a field with `params` of B samples, at `resolution` for files and pictures; None: the domain's."""

    @abstractmethod
    def compare(self, outputs: Outputs, truth: Truth, size: int) -> list[list[Image.Image | None]]:
        """Truth beside reconstruction: B rows of pictures, size × size pixels, in the order of `comparison_heads`."""

    @abstractmethod
    def measure(self, output: Outputs, truth: Truth) -> dict[str, float]:
        """Measure → value for one reconstruction against its truth, both with B = 1."""

    def describe(self, output: Outputs) -> dict[str, float]:
        """Measure → value for one generated output (B = 1), without truth."""
        return {}

    @abstractmethod
    def signatures(self, outputs: Outputs) -> list[np.ndarray]:
        """B signatures: the features that `nearest`, `distance` and `compare_sets` compare."""

    @abstractmethod
    def stored_signatures(self, batch: Truth) -> list[np.ndarray]:
        """B signatures of stored samples, from a batch after `input_transforms`."""

    @abstractmethod
    def nearest(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> NDArray[np.int64]:
        """Index (G,) of the nearest of R signatures `those` to each of G signatures `these`; -1 for an empty output."""

    @abstractmethod
    def distance(self, this: np.ndarray, that: np.ndarray) -> float:
        """Distance between two signatures, ≥ 0."""

    def compare_sets(self, these: Sequence[np.ndarray], those: Sequence[np.ndarray]) -> dict[str, float]:
        """Measure → value for the set of G generated signatures against the set of R stored ones."""
        return {}

    def stored_views(self, shards: ShardSet, views: int) -> SetOfViews:
        """`views` views of the stored samples, to compare those of outputs with. UserError where there are none."""
        raise UserError(f"prompts.views={views}: a {self.noun} is not seen from several sides, leave it out")

    def further_pictures(self, folder: Path) -> dict[str, np.ndarray]:
        """Sample id → picture by another renderer, uint8 RGBA (H, W, 4), from a folder. UserError if there is none."""
        raise UserError(f"images.libraries={folder}: this domain knows no further pictures, leave it out")

    def read_file(self, path: Path, seed: int) -> dict[str, Tensor]:
        """Batch of a user's file, as `input_transforms` give it: the start of a variation. UserError if unreadable."""
        raise UserError(f"from={path}: nothing of this domain can be read from a file, leave it out")

    def read_views(self, path: Path, cut_out: bool) -> dict[str, Tensor]:
        """Batch of a user's pictures with cameras, which a reconstructor reads. UserError for unusable ones.

        cut_out: whether to remove the background of the pictures first.
        """
        raise UserError(f"views={path}: nothing of this domain is reconstructed from pictures, leave it out")

    def read_view(self, path: Path, azimuth: float | None, elevation: float | None, cut_out: bool) -> dict[str, Tensor]:
        """`read_views` of one picture, seen from these angles in degrees; None: from where portraits are drawn."""
        raise UserError(f"image={path}: nothing of this domain is reconstructed from pictures, leave it out")

    def read_points(self, path: Path, key: str) -> np.ndarray:
        """Points (N, 3) of a part of a surface, in the model's units, of a user's file. UserError for an unusable one.

        key: of the configuration, which names the file.
        """
        raise UserError(f"{key}={path}: a {self.noun} has no surface of points, leave it out")

    def read_part(self, path: Path, seed: int, shape: LatentShape) -> tuple[dict[str, Tensor], Tensor]:
        """A file of a part of one sample: its batch, as `input_transforms` give it; (T,) bool, the tokens to sample.

        Raises:
            UserError: an unusable file, or latents or a domain without completion.
        """
        raise UserError(
            f"complete=true: parts of a {self.noun} are kept by mask=, not by what is missing: leave it out"
        )

    def read_output(self, path: Path) -> Outputs:
        """One output of another program, out of its file. UserError for an unusable one, or where none is read."""
        raise UserError(f"{path}: no {self.noun} of another program is read, leave its folder out of runs=")

    def read_coarse(self, path: Path, shape: LatentShape) -> np.ndarray:
        """`coarse` (T, A) of a user's file, the input of super-resolution. UserError for an unreadable file."""
        raise UserError(f"from={path}: nothing of this domain is enlarged, leave it out")

    def interpolated(self, coarse: Tensor) -> Outputs:
        """Interpolation of `coarse` (B, T, A): the baseline of super-resolution. UserError if the domain has none."""
        raise UserError(f"a {self.noun} is not enlarged: evaluate a run of another domain")

    def opening(self, autoencoder: Autoencoder, pixels: np.ndarray, wishes: Mapping[str, float]) -> dict[str, Tensor]:
        """What a model that begins with a picture reads of it: key of a source → values of one sample.

        Args:
            autoencoder: of the model's latents.
            pixels: of the picture, uint8 (H, W, 4).
            wishes: options of the command by name.

        Raises:
            UserError: samples of this domain do not begin with a picture.
        """
        raise UserError(f"image=: a {self.noun} does not begin with a picture, leave it out")

    def shown(self, samples: Tensor) -> Outputs:
        """Outputs that show the `input` (B, …) of stored samples itself. UserError where this domain has none."""
        raise UserError(f"the {self.noun}s of this domain are shown by a model alone: evaluate a run of another domain")

    def read_mask(self, path: Path, file: Path, shape: LatentShape) -> Tensor:
        """Mask (T,) bool in `path` for `file`: True at tokens to sample anew. UserError for an unusable mask."""
        raise UserError(f"mask={path}: a {self.noun} is not completed by a mask, leave it out")

    def pasted(self, outputs: Outputs, path: Path, file: Path) -> Outputs:
        """The outputs, with the parts of `file` that the mask in `path` keeps. UserError for a domain without masks."""
        raise UserError(f"paste=true: nothing is pasted into a {self.noun}, leave it out")

    def with_files(self, settings: FileSettings) -> Domain:
        """The domain whose outputs are written as `settings` say. UserError for settings that it does not know."""
        for key, value in settings.chosen.items():
            raise UserError(f"mesh.{key}={value} has no effect: a {self.noun} is no mesh, leave it out")
        return self

    def points_of_picture(self, resolution: int | None, size: int | None = None) -> int:
        """About how many points of the field a picture reads; with `size`, a row of `compare`."""
        return int(resolution or 64) ** self.dimensions

    @torch.no_grad()
    def decode(self, autoencoder: Autoencoder, latents: Tensor, resolution: int | None = None) -> Outputs:
        """Outputs of latents (B, T, C); the field's parameters are float32."""
        params = {name: value.float() for name, value in autoencoder.decode(latents).items()}
        return self.outputs(autoencoder.field, params, resolution)

    @torch.no_grad()
    def reconstruct(self, autoencoder: Autoencoder, batch: Truth, resolution: int | None = None) -> Outputs:
        """Outputs of a batch after `input_transforms`, encoded to the latents that diffusion learns, and decoded."""
        place = autoencoder.latent_mean.device
        fields = {name: batch[name].to(place) for name in autoencoder.reads if name in batch}
        return self.decode(autoencoder, autoencoder.encode(fields), resolution)
