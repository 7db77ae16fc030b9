"""What takes part in a comparison: finished runs, and folders of files of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.errors import UserError, the_first
from fieldforge.evaluation.questions import Question, asked_with
from fieldforge.evaluation.settings import ComparisonSettings
from fieldforge.generation import Generator
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import find_model
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.storage.file_names import slug
from fieldforge.terminal import status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.precision import arithmetic_of

ENDINGS = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
NAMED = 3  # files of a folder, in the sentence about one that is missing
Job = tuple[Question, int]
"""A prompt and a seed."""


class Contender(Protocol):
    """Gives an output for each prompt and seed."""

    @property
    def name(self) -> str: ...

    def check(self, questions: Sequence[Question]) -> None:
        """UserError for prompts that it cannot answer."""
        ...

    def outputs(self, jobs: Sequence[Job]) -> list[Outputs]: ...


@dataclass(frozen=True)
class RunContender:
    """A finished diffusion run.

    Args:
        name: in the report.
        model: file of the run.
        generator, autoencoder, domain, label: of this file.
        settings: of the command.
    """

    name: str
    model: Path
    generator: Generator
    autoencoder: Autoencoder
    domain: Domain
    label: Mapping[str, Any]
    settings: ComparisonSettings

    @staticmethod
    def load(name: str, model: Path, settings: ComparisonSettings) -> RunContender:
        """UserError for a damaged run."""
        generator, autoencoder, label = load_diffusion(model, None, best_device(settings.device))
        warn_if_untrained(label, model.parent)
        generator = generator.computed(arithmetic_of(settings, generator.device)).with_steps(settings.steps)
        return RunContender(name, model, generator, autoencoder, load_domain(label, model), label, settings)

    def check(self, questions: Sequence[Question]) -> None:
        if not self.generator.keys & {"caption", "class"}:
            raise UserError(f"runs: {self.name} reads neither texts nor classes: leave it out, prompts are compared")
        unknown = [question.text for question in questions if question.kind is None]
        if "caption" not in self.generator.keys and unknown:
            raise UserError(f"runs: {self.name} reads classes alone, and {unknown[0]!r} names none: leave either out")

    def outputs(self, jobs: Sequence[Job]) -> list[Outputs]:
        outputs: list[Outputs] = []
        for start in range(0, len(jobs), self.settings.batch_size):
            part = jobs[start : start + self.settings.batch_size]
            batch = asked_with([question for question, _ in part], self.generator.keys)
            latents = self.generator(batch, [seed for _, seed in part], self.settings.guidance_scale)  # (B, T, C)
            decoded = self.domain.decode(self.autoencoder, latents, self.settings.resolution)
            outputs += [decoded[index] for index in range(len(part))]
            status(f"{self.name}: {len(outputs)} of {len(jobs)} sampled")
        status("")
        return outputs


@dataclass(frozen=True)
class FolderContender:
    """Files of another program, `<prompt>_<seed>.glb`, or as sample.py names its own.

    Args:
        name: in the report.
        folder: of the files.
        domain: reads them.
    """

    name: str
    folder: Path
    domain: Domain

    @cached_property
    def files(self) -> dict[tuple[str, int], Path]:
        """By the prompt's words and the seed; of several formats the first of `ENDINGS`."""
        found: dict[tuple[str, int], Path] = {}
        for path in sorted(files_in(self.folder), key=lambda path: -ENDINGS.index(path.suffix.lower())):
            text, _, seed = path.stem.rpartition("_")
            number, _, rest = text.partition("_")
            if seed.isdecimal():
                found[slug(rest if len(number) == 3 and number.isdecimal() else text), int(seed)] = path
        return found

    def file(self, job: Job) -> Path:
        """UserError for one that is not there."""
        question, seed = job
        path = self.files.get((slug(question.text), seed))
        if path is None:
            there = sorted(path.name for path in files_in(self.folder))
            raise UserError(
                f"runs: {self.folder} has no file for {question.text!r} and seed {seed}: name it "
                f"{slug(question.text)}_{seed}.glb, or change prompts= or seeds= (it has {the_first(there, NAMED)})"
            )
        return path

    def check(self, questions: Sequence[Question]) -> None:
        return None  # `file` does, for each seed

    def outputs(self, jobs: Sequence[Job]) -> list[Outputs]:
        files = [self.file(job) for job in jobs]
        outputs: list[Outputs] = []
        for path in files:
            outputs.append(self.domain.read_output(path))
            status(f"{self.name}: {len(outputs)} of {len(files)} read")
        status("")
        return outputs


def files_in(folder: Path) -> list[Path]:
    """Files of meshes directly in a folder; none where it is no folder."""
    return [path for path in folder.iterdir() if path.suffix.lower() in ENDINGS] if folder.is_dir() else []


def is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def contenders_of(settings: ComparisonSettings) -> tuple[RunContender, list[Contender]]:
    """The first run, and all contenders in order.

    Raises:
        UserError: no such run, or no run at all among them: its domain reads the files of the others.
    """
    models: dict[str, Path] = {}
    for name, place in settings.named.items():
        if is_empty_folder(Path(place)):
            raise UserError(f"runs: {place} is an empty folder: give a run, or a folder of files <prompt>_<seed>.glb")
        if not files_in(Path(place)):
            models[name] = find_model(place, settings.output_dir, "diffusion", key="runs")[0]
    if not models:
        raise UserError("runs= has folders of files alone: name a finished run too, whose data judges them")
    runs = {name: RunContender.load(name, model, settings) for name, model in models.items()}
    first = next(iter(runs.values()))
    for run in runs.values():
        if type(run.domain) is not type(first.domain):
            raise UserError(
                f"runs: {run.name} makes a {run.domain.noun}, {first.name} a {first.domain.noun}: leave one out"
            )
    return first, [
        runs[name] if name in runs else FolderContender(name, Path(place), first.domain)
        for name, place in settings.named.items()
    ]
