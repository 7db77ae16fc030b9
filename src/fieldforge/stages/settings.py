"""The settings of a training beside the blocks that its parts are built of; each checks itself.

It imports nothing heavy: mistakes in here are found before torch is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldforge.configuration.values import check_name
from fieldforge.errors import UserError
from fieldforge.ranges import Count, GridCells, Pixels, Positive, Seed, Whole


@dataclass(frozen=True)
class PictureSettings:
    """Pictures during training.

    Args:
        count: samples on the sheet.
        size: pixels along a side of each picture.
        resolution: of the outputs: cells of a mesh's grid, pixels of a picture along an axis; None: the domain's.
        seeds, steps, scale: of a diffusion model: columns, sampler steps, guidance scale.
    """

    count: Count = 4
    size: Pixels = 128
    resolution: GridCells | None = 64
    seeds: Count = 2
    steps: Count = 12
    scale: float = 3.0


@dataclass(frozen=True)
class MonitorSettings:
    """Logs, validation and pictures of a training.

    Args:
        log_every: steps between rows of metrics.
        validate_every: steps between validations on held-out samples.
        validation_batches: batches of each validation; 0: no validation.
        pictures: None if no stage draws any.
    """

    log_every: Count
    validate_every: Count
    validation_batches: Whole
    pictures: PictureSettings | None = None


@dataclass(frozen=True)
class EncodingSettings:
    """Encodings outside of training steps: latents, and their mean and deviation.

    Args:
        batch_size: samples that a process encodes at a time.
    """

    batch_size: Count


@dataclass(frozen=True)
class RunSettings:
    """Name, place, seed and start of a run.

    Args:
        name: of the folder of its runs, below `output_dir`; so is `autoencoder_name`, of those of its autoencoder.
        output_dir: where runs lie.
        seed: of first weights, of the order of samples and of all that is drawn.
        init_from: a run, or a model in pretrained/, whose weights a stage starts from; None: random ones.
        continue_from: a finished run whose training goes on, or "scratch" (see `continuation`); None: none.
        frozen: names of parameters that stay as they are, `*` for any characters.
        autoencoder_name: None where there is no autoencoder.
        autoencoder_run: a finished autoencoder that is used in place of one that is trained; None: none.
        monitor: logs, validation and pictures.
    """

    name: str
    output_dir: str
    seed: Seed
    init_from: str | None
    continue_from: str | None
    frozen: Sequence[str]
    autoencoder_name: str | None
    autoencoder_run: str | None
    monitor: MonitorSettings

    def __post_init__(self) -> None:
        for key, name in (("name", self.name), ("autoencoder_name", self.autoencoder_name)):
            if name is not None:
                check_name(key, name)
        if not self.output_dir.strip():
            raise UserError("output_dir= is empty: give the folder that runs lie in")
        if self.init_from is not None and self.continue_from is not None:
            raise UserError(
                "init_from= and continue_from= are both given: weights alone, or all of a training; give one"
            )


@dataclass(frozen=True)
class DistillationSettings:
    """The phases of a distillation.

    Args:
        teacher_steps: of the walk that the first phase learns from.
        steps: of the student of each phase, which is the teacher of the next.
        shares: of each phase in the budget.
        guidance: scale of the teacher's; an unconditional one has none.
    """

    teacher_steps: Count
    steps: Sequence[Count]
    shares: Sequence[Positive]
    guidance: float

    def __post_init__(self) -> None:
        if not self.steps:
            raise UserError("distillation.steps=[] names no phase: give falling numbers of steps, such as [64, 16, 4]")
        if len(self.shares) != len(self.steps):
            raise UserError(
                f"distillation.shares={self.shares} must be {len(self.steps)} numbers, one for each of "
                f"distillation.steps={self.steps}"
            )
