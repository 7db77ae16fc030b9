"""The settings of evaluate.py; each checks itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fieldforge.errors import UserError
from fieldforge.ranges import Count, GridCells, Pixels, Positive, Seed, Steps, Whole
from fieldforge.training.settings import ComputationSettings


@dataclass(frozen=True)
class ReconstructionSettings:
    """Settings for the evaluation of an autoencoder.

    Args:
        resolution: of the outputs: cells along an axis of a mesh's grid, pixels of a picture.
        pictures: samples on the sheet; 0: no sheet.
        picture_size: pixels along a side of each picture.
    """

    resolution: GridCells
    pictures: Whole
    picture_size: Pixels


@dataclass(frozen=True)
class PromptSettings:
    """Settings for the evaluation of a diffusion model that reads texts or classes.

    Args:
        file: of prompts; None: the most frequent names of the training split, or every class.
        count: of names.
        seeds: distinct seeds of each prompt.
        guidance: distinct guidance scales.
        judged_guidance: the scale whose agreement is the report's headline.
        steps: of the sampler; None: those of the run.
        resolution, picture_size: see `ReconstructionSettings`.
        batch_size: samples that are drawn together.
        views: of each sample, whose features are compared with those of stored views; 0: none.
        encoder: of texts and pictures, which says whether a sample is nearest to its own prompt; None: none.
    """

    file: str | None
    count: Count
    seeds: Sequence[Seed]
    guidance: Sequence[float]
    judged_guidance: float
    steps: Steps | None
    resolution: GridCells
    picture_size: Pixels
    batch_size: Count
    views: Whole = 0
    encoder: str | None = None

    def __post_init__(self) -> None:
        check_distinct("prompts.seeds", self.seeds)
        check_distinct("prompts.guidance", self.guidance)
        if self.judged_guidance not in self.guidance:
            raise UserError(
                f"prompts.judged_guidance={self.judged_guidance} is not one of prompts.guidance={self.guidance}: "
                "give one of these, or add it to them"
            )


@dataclass(frozen=True)
class ImageSettings:
    """Settings for the evaluation of a diffusion model that reads pictures.

    Args:
        libraries: folder of further pictures of training samples, by another renderer; None: none.
        icons: number of these pictures; None: all.
        heldout: number of held-out samples, each by one of its views; None: all.
        guidance: guidance scale.
        steps, resolution, picture_size, batch_size: see `PromptSettings`.
        pictures: rows of each sheet.
    """

    libraries: str | None
    icons: Count | None
    heldout: Count | None
    guidance: float
    steps: Steps | None
    resolution: GridCells
    pictures: Count
    picture_size: Pixels
    batch_size: Count


@dataclass(frozen=True)
class EnlargingSettings:
    """Settings for the evaluation of a super-resolution model.

    Args:
        count: how many held-out samples; None: all.
        guidance: its scale.
        steps, picture_size, batch_size: see `PromptSettings`.
        pictures: rows of the sheet.
    """

    count: Count | None
    guidance: float
    steps: Steps | None
    pictures: Count
    picture_size: Pixels
    batch_size: Count


@dataclass(frozen=True)
class ClipSettings:
    """Settings for the evaluation of a model of clips that begin with a picture.

    Args:
        count: how many held-out samples; None: all.
        guidance: its scale.
        pictures: run of a model of pictures to compare with; None: the one that it started from.
        steps, picture_size, batch_size: see `PromptSettings`.
        rows: of the sheet.
    """

    count: Count | None
    guidance: float
    pictures: str | None
    steps: Steps | None
    rows: Count
    picture_size: Pixels
    batch_size: Count


@dataclass(frozen=True)
class PriorSettings:
    """Settings for the evaluation of a prior.

    Args:
        seeds: of each caption, each seed once.
        guidance: its scale.
        steps: of the sampler; None: those of the run.
        pictures: rows of the sheet.
        picture_size: pixels along a side of each picture.
    """

    seeds: Sequence[Seed]
    guidance: float
    steps: Steps | None
    pictures: Count
    picture_size: Pixels

    def __post_init__(self) -> None:
        check_distinct("prior.seeds", self.seeds)


@dataclass(frozen=True)
class ComparisonSettings(ComputationSettings):
    """All settings of `compare.py`; device and arithmetic are those of `ComputationSettings`.

    Args:
        runs: finished runs, or folders of files of other programs; a mapping gives them names.
        output_dir: where runs lie.
        output: folder of the report; None: one below `output_dir`.
        data_root: shards whose training split judges; None: the first run's.
        prompts: a file of prompts, or texts; None: the most frequent names of the training split.
        count: of these names.
        seeds: distinct seeds of each prompt.
        guidance_scale: of all runs.
        steps, resolution, picture_size, batch_size: see `PromptSettings`.
    """

    runs: Sequence[str] | Mapping[str, str]
    output_dir: str
    output: str | None
    data_root: str | Sequence[str] | None
    prompts: str | Sequence[str] | None
    count: Count
    seeds: Sequence[Seed]
    guidance_scale: float
    steps: Steps | None
    resolution: GridCells
    picture_size: Pixels
    batch_size: Count

    def __post_init__(self) -> None:
        check_distinct("seeds", self.seeds)
        if len(self.runs) < 2:
            raise UserError(
                f"runs={list(self.runs)} must name two or more: runs=[pretrained,outputs/furniture_latent/<id>]"
            )
        texts = [self.prompts] if isinstance(self.prompts, str) else self.prompts
        if texts is not None and not (texts and all(text.strip() for text in texts)):
            raise UserError("prompts= is empty: give a file with one prompt a line, or texts, or leave it out")
        for name, place in self.named.items():
            if not name.strip() or not place.strip():
                raise UserError("runs= has an empty entry: give finished runs, or folders of files")

    @property
    def named(self) -> dict[str, str]:
        """Name in the report → place; without names the shortest ends of the places that differ."""
        if isinstance(self.runs, Mapping):
            return dict(self.runs)
        places = [place.rstrip("/") for place in self.runs]
        check_all_differ(places)
        for length in range(1, 1 + max(place.count("/") for place in places)):
            names = ["/".join(place.split("/")[-length:]) for place in places]
            if len(set(names)) == len(names):
                return dict(zip(names, self.runs, strict=True))
        return dict(zip(places, self.runs, strict=True))


def check_all_differ(places: Sequence[str]) -> None:
    """UserError for a run that is named twice."""
    if len(set(places)) < len(places):
        raise UserError(f"runs={places} names one twice: give each once")


@dataclass(frozen=True)
class EvaluationSettings(ComputationSettings):
    """All settings of `evaluate.py`; device and arithmetic are those of `ComputationSettings`.

    Args:
        run: directory of a finished run; None: the newest.
        output_dir: where runs lie.
        ema_length: another length of the weights' average, see `of_length`; None: the run's own.
        data_root: shards to measure on; None: the run's training data.
        split: of an autoencoder's or a prior's samples.
        limit: the largest number of these samples; None: all.
        domain: overrides of the run's domain settings.
        wandb: whether the report is added to the run of Weights & Biases too.
    """

    run: str | None
    output_dir: str
    wandb: bool
    ema_length: Positive | None
    data_root: str | Sequence[str] | None
    split: str
    limit: Count | None
    domain: Mapping[str, Any]
    reconstruction: ReconstructionSettings
    prompts: PromptSettings
    images: ImageSettings
    enlarging: EnlargingSettings
    clips: ClipSettings
    prior: PriorSettings

    def __post_init__(self) -> None:
        places = [self.data_root] if isinstance(self.data_root, str) else self.data_root
        if places is not None and not (places and all(place.strip() for place in places)):
            raise UserError(f"data_root={self.data_root} names no shards: give their folder, or leave it out")

    def check_stage(self, stage: str) -> None:
        """UserError for a choice without effect on a run of this stage.

        A diffusion model is not measured by split, and what an autoencoder decodes is computed in float32.
        """
        if stage == "autoencoder":
            for key, exact in (("precision", "auto"), ("matmul", "auto"), ("compile", False)):
                if (value := getattr(self, key)) != exact:
                    raise UserError(f"{key}={value} is for samplers, and this run is an autoencoder: leave it out")
        if stage != "diffusion":
            return
        for key, usual, advice in (
            ("split", "heldout", "prompts are judged by the training split, pictures are of the held-out one"),
            (
                "limit",
                None,
                "prompts.count=, images.icons=, images.heldout=, enlarging.count= and clips.count= say how many",
            ),
        ):
            value = getattr(self, key)
            if value != usual:
                raise UserError(
                    f"{key}={value} is for autoencoders and priors, and this run is a diffusion model: leave it out; "
                    f"{advice}"
                )


def check_distinct(key: str, values: Sequence[float]) -> None:
    """UserError for an empty list, or a repeated value: these values label the columns of a sheet."""
    if not values:
        raise UserError(f"config key {key} = [] must be a list with something in it: write {key}=[1,3]")
    if len(set(values)) < len(values):
        raise UserError(f"config key {key} = {list(values)} has a value twice: give each once")
