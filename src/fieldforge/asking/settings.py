"""The settings of sample.py; each checks itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig

from fieldforge.asking.guidance import GuidanceChoice
from fieldforge.domains.file_settings import FileSettings
from fieldforge.errors import UserError
from fieldforge.ranges import Count, GridCells, NotNegative, Positive, Range, Seed, Share, Steps
from fieldforge.training.settings import ComputationSettings

MOST = 1_000_000  # samples of one command; more are a slip of the keyboard
STRENGTH = 0.6
COMPLETION = 0.9  # what the encoder makes of the missing part leads the sampler's first steps (docs/conditioning.md)
PRIOR_SCALE = 1.0
FRAMES = 8
Name = str | int | float | bool
"""A class may be called 3 or true."""


@dataclass(frozen=True)
class SamplingSettings(ComputationSettings):
    """All settings of `sample.py`; device and arithmetic are those of `ComputationSettings`.

    Args:
        run: directory of a finished diffusion run; None: the newest.
        output_dir: where runs lie.
        output: folder for the files; None: one below the run.
        adapters: folders of adapters that are added to the run's model; `adapter=` on the command line, as a group of
            choices for trainings has that name.
        adapter_weight: factor of each; None: 1.
        ema_length: another length of the weights' average, see `of_length`; None: the run's own.
        prompt, class_, image: the conditions; each of several classes and pictures is used.
        prompts: a file with one prompt a line, in the place of `prompt`.
        proportions, symmetry, sharpness: what a shape is asked to be like, see `conditioning.shape_numbers`.
        points: a file of a part of a surface as points.
        remove_background: cut the background away from pictures.
        views: folder or file of pictures with cameras, for a reconstructor.
        azimuth, elevation: degrees from which a reconstructor takes `image` to be seen, None: as portraits are; the
            elevation of an orbit around it, None: the domain's.
        n: samples per request, with seeds seed, seed + 1, …
        seed: of the first sample.
        guidance: kind and settings of guidance.
        to, to_seed: a second prompt and seed: the end of an interpolation.
        frames: samples of an interpolation, both ends included, None: 8; without one, frames of a clip.
        fps, motion: of a clip: frames a second, how much moves; None: the domain's.
        prior: directory of a prior's run, which generates picture features from a text.
        prior_guidance: guidance scale of the prior; None: 1.
        from_: a file to vary; for a super-resolution model the low-resolution input.
        strength: strength of variations; None: 0.6, 0.9 of a part, or 1 with a mask. For a super-resolution
            model the strength of the input's noise; None: no noise.
        mask: a file that marks the parts of `from_` to sample anew.
        complete: `from_` is a part, which is kept; the rest is sampled.
        paste: copy the parts that the mask keeps from `from_`.
        sampler: in the place of the run's.
        steps: of the sampler; None: its own.
        resolution: of the outputs: cells along an axis of a mesh's grid, pixels of a picture; None: the domain's.
        batch_size: samples of one batch.
        mesh: what is asked of the files of meshes.
    """

    run: str | None
    output_dir: str
    output: str | None
    adapters: str | Sequence[str] | None
    adapter_weight: float | Sequence[float] | None
    ema_length: Positive | None
    prompt: str | None
    prompts: str | None
    class_: Name | Sequence[Name] | None
    image: str | Sequence[str] | None
    proportions: tuple[Positive, Positive, Positive] | None
    symmetry: tuple[Share, Share, Share] | None
    sharpness: Share | None
    points: str | None
    remove_background: bool
    views: str | None
    azimuth: float | None
    elevation: Annotated[float, Range(-90, 90)] | None
    n: Annotated[int, Range(1, MOST)]
    seed: Seed
    guidance: GuidanceChoice
    to: str | None
    to_seed: Seed | None
    frames: Annotated[int, Range(2, 10_000)] | None
    fps: Positive | None
    motion: NotNegative | None
    prior: str | None
    prior_guidance: float | None
    from_: str | None
    strength: Annotated[float, Range(0, 1, open_below=True)] | None
    mask: str | None
    complete: bool
    paste: bool
    sampler: DictConfig | None
    steps: Steps | None
    resolution: GridCells | None
    batch_size: Count
    mesh: FileSettings

    def __post_init__(self) -> None:
        self.check_texts()
        self.check_alone()
        self.check_way()

    @property
    def classes(self) -> Sequence[Name | None]:
        """Each requested class; [None] without one."""
        return self.class_ if isinstance(self.class_, list) else [self.class_]  # type: ignore[list-item]

    @property
    def images(self) -> Sequence[str | None]:
        """Path of each requested picture; [None] without one."""
        return self.image if isinstance(self.image, list) else [self.image]  # type: ignore[list-item]

    @property
    def files(self) -> dict[str, str | None]:
        """Path of each file besides pictures, by option."""
        paths = {"prompts": self.prompts, "from": self.from_, "mask": self.mask}
        return paths | {"views": self.views, "points": self.points}

    @property
    def numbers(self) -> dict[str, list[float]]:
        """Numbers that the shape is asked to have, by the key of their source; proportions over the longest side."""
        longest = max(self.proportions or (1.0,))
        values = {
            "proportions": None if self.proportions is None else [side / longest for side in self.proportions],
            "symmetry": None if self.symmetry is None else [float(share) for share in self.symmetry],
            "sharpness": None if self.sharpness is None else [float(self.sharpness)],
        }
        return {key: value for key, value in values.items() if value is not None}

    @property
    def weighted_adapters(self) -> list[tuple[str, float]]:
        """Folder and weight of each adapter."""
        folders, weights = self.adapter_folders, 1.0 if self.adapter_weight is None else self.adapter_weight
        each = [weights] * len(folders) if isinstance(weights, int | float) else weights
        return list(zip(folders, each, strict=True))

    @property
    def adapter_folders(self) -> Sequence[str]:
        return [self.adapters] if isinstance(self.adapters, str) else self.adapters or ()

    @property
    def is_way(self) -> bool:
        """Whether the command interpolates between two prompts or two seeds."""
        return self.to is not None or self.to_seed is not None

    @property
    def frame_count(self) -> int:
        """Samples of each interpolation; 1 without one."""
        return (FRAMES if self.frames is None else self.frames) if self.is_way else 1

    @property
    def clip_wishes(self) -> dict[str, float]:
        """What is asked of a clip besides its first picture, by option."""
        values = {"elevation": self.elevation, "fps": self.fps, "motion": self.motion}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def clip_frames(self) -> int | None:
        """Frames of a clip, where they are given."""
        return None if self.is_way else self.frames

    @property
    def variation_strength(self) -> float:
        if self.strength is not None:
            return self.strength
        if self.complete:
            return COMPLETION
        return STRENGTH if self.mask is None else 1.0

    @property
    def prior_scale(self) -> float:
        return PRIOR_SCALE if self.prior_guidance is None else self.prior_guidance

    def check_texts(self) -> None:
        """UserError for an empty text or list."""
        if self.prompt is not None and not self.prompt.strip():
            raise UserError("prompt= is empty: write what to make, or leave it out for an unconditional sample")
        if self.to is not None and not self.to.strip():
            raise UserError("to= is empty: write the prompt to go to")
        folders = {"run": self.run, "output_dir": self.output_dir, "output": self.output, "prior": self.prior}
        for key, value in (folders | self.files).items():
            if value is not None and not value.strip():
                raise UserError(f"{key}= is empty: give a path, or leave it out")
        for key, values in (("class", self.classes), ("image", self.images)):
            if not values:
                raise UserError(f"{key}=[] names nothing: give {key}= something, or leave it out")

    def check_files(self) -> None:
        """UserError for a file that is not there: it is said before a model is loaded."""
        for key, path in (*self.files.items(), *(("image", image) for image in self.images)):
            if path is not None and not Path(path).exists():
                raise UserError(f"{key}={path}: there is no such file; correct the path")

    def check_alone(self) -> None:
        """UserError for options that have no effect without, or together with, other options."""
        if self.prompt is not None and self.prompts is not None:
            raise UserError("both prompt= and prompts= are given: give the text or the file")
        for key, value, other, cause in (
            ("strength", self.strength, "from", self.from_),
            ("prior_guidance", self.prior_guidance, "prior", self.prior),
            ("adapter_weight", self.adapter_weight, "adapter", self.adapters),
            ("azimuth", self.azimuth, "image", self.image),
            ("elevation", self.elevation, "image", self.image),
        ):
            if value is not None and cause is None:
                raise UserError(f"{key}={value} has no effect without {other}=: give that too, or leave it out")
        weights = self.adapter_weight
        if not isinstance(weights, int | float | None) and len(weights) != len(self.adapter_folders):
            raise UserError(f"adapter_weight={list(weights)} must have one number for each adapter=, or be one for all")
        if self.mask is not None and self.from_ is None:
            raise UserError("mask= has no effect without from=: give the file that it is a mask of, or leave it out")
        if self.complete and (self.from_ is None or self.mask is not None):
            raise UserError(
                "complete=true completes the part in from=, without a mask: give from=, and leave mask= out"
            )
        if self.paste and self.mask is None:
            raise UserError("paste=true has no effect without mask=: give that too, or leave it out")
        if self.remove_background and self.image is None and self.prompts is None and self.views is None:
            raise UserError("remove_background=true has no effect without a picture: give image=, or leave it out")

    def check_reconstruction(self) -> None:
        """UserError for options that have no effect on a reconstructor, which makes one mesh in one pass."""
        idle: dict[str, object] = {"prompt": self.prompt, "prompts": self.prompts, "class": self.class_}
        idle |= {"from": self.from_, "to": self.to, "points": self.points, **self.numbers}
        idle |= {"to_seed": self.to_seed, "prior": self.prior, "adapter": self.adapters, "sampler": self.sampler}
        idle |= {"frames": self.frames, "fps": self.fps, "motion": self.motion}
        idle |= {"steps": self.steps, "image": None if self.views is None else self.image}
        for key, value in idle.items():
            if value is not None:
                raise UserError(
                    f"{key}= has no effect on a reconstructor, which makes one mesh of pictures in one pass: leave it "
                    f"out, and give views= (pictures with cameras) or image= (one without)"
                )

    def check_way(self) -> None:
        """UserError for an interpolation without an end, or with equal ends."""
        if self.to is not None and self.prompt is None and self.prompts is None:
            raise UserError("to= is the second of two prompts: give the first one as prompt=")
        if self.to_seed == self.seed and self.to is None:
            raise UserError(f"to_seed={self.to_seed} is where the way begins: give another end, or leave it out")
        same = self.to is not None and self.prompt is not None and self.to.strip() == self.prompt.strip()
        if same and self.to_seed in (None, self.seed):
            raise UserError(f"to={self.to} is where the way begins: give another end, or leave it out")
