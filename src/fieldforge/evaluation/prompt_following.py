"""Prompt agreement of generated samples: a sheet of prompts × seeds × guidance scales, and two numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.stored_config import data_root
from fieldforge.data.shards import open_shards
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.evaluation.beside_nearest import NearestReconstructions, spread
from fieldforge.evaluation.clip_following import ClipJudge, evaluate_clips, started_from
from fieldforge.evaluation.enlargements import EnlargementJudge, evaluate_enlargements
from fieldforge.evaluation.picture_following import evaluate_images
from fieldforge.evaluation.questions import Question, asked_with, questions_for
from fieldforge.evaluation.settings import EvaluationSettings, PromptSettings
from fieldforge.generation import Generator
from fieldforge.metrics.agreement import agreement
from fieldforge.rendering.bitmaps import write_picture, write_whole
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import folder_of
from fieldforge.stages.measures_of_samples import stored_samples
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.terminal import result, status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.precision import arithmetic_of
from fieldforge.training.processes.side_files import side_file

log = logging.getLogger(__name__)


def evaluate_diffusion(model: Path, settings: EvaluationSettings) -> Path:
    """Samples prompts × seeds × guidance scales; writes `evaluation/prompts.json` and `.png`, where `folder_of` says.

    A model that reads pictures is also, or only, evaluated with these: see `evaluate_images`. A super-resolution model
    is evaluated on low-resolution samples: see `evaluate_enlargements`; a model of clips that begin with a picture on
    those of held-out clips: see `evaluate_clips`.
    """
    generator, autoencoder, label = load_diffusion(model, None, best_device(settings.device))
    arithmetic = arithmetic_of(settings, generator.device)
    generator = generator.computed(arithmetic)
    warn_if_untrained(label, model.parent)
    root = data_root(settings.data_root, label["config"], model)
    domain = load_domain(label, model, settings.domain)
    folder = folder_of(model, settings.output_dir) / "evaluation"
    folder.mkdir(exist_ok=True)
    about = {"run": str(model.parent), "fingerprint": label["fingerprint"], "data": str(root)}
    about |= arithmetic.facts()
    if "coarse" in generator.keys:
        judge_of_size = EnlargementJudge(generator, autoencoder, domain, settings.enlarging)
        return evaluate_enlargements(judge_of_size, label, root, about, folder)
    if "first_frame" in generator.keys:
        pictures = started_from(model, settings.clips.pictures, settings.output_dir)
        judge_of_clips = ClipJudge(generator, autoencoder, domain, pictures, settings.clips)
        return evaluate_clips(judge_of_clips, label, root, about, folder / "clips.json")
    training = stored_samples(domain, root)
    if "image" in generator.keys:
        report = evaluate_images(generator, autoencoder, domain, root, training, settings.images, about, folder)
        if generator.keys == {"image"}:
            return report
    prompts = settings.prompts
    beside = NearestReconstructions(autoencoder, domain, root, prompts.resolution)
    judge = PromptJudge(generator.with_steps(prompts.steps), autoencoder, domain, prompts, *training, beside)
    return judge.write_report(folder, about, references(domain, root, training[1]))


def references(domain: Domain, root: str, training: Sequence[np.ndarray]) -> dict[str, Sequence[np.ndarray]]:
    """Split → reference signatures for generated sets; the held-out split only if the data have one."""
    heldout = "heldout" in {
        split for manifest in open_shards(root, "train").manifests for split in manifest.shards.splits
    }
    return {"train": training} | ({"heldout": stored_samples(domain, root, "heldout")[1]} if heldout else {})


@dataclass(frozen=True)
class PromptJudge:
    """Generates from prompts, and finds the nearest training samples.

    Args:
        generator, autoencoder, domain: of the run.
        settings: the block `prompts` of the configuration.
        metas, signatures: of the training samples.
        reconstructions: of the training samples.
    """

    generator: Generator
    autoencoder: Autoencoder
    domain: Domain
    settings: PromptSettings
    metas: Sequence[Mapping[str, Any]]
    signatures: Sequence[np.ndarray]
    reconstructions: NearestReconstructions

    def write_report(
        self, folder: Path, about: Mapping[str, Any], references: Mapping[str, Sequence[np.ndarray]]
    ) -> Path:
        """Writes `prompts.json` and `prompts.png` into `folder`, prints the figures; returns the path of the first.

        references: signatures of stored samples by split.
        """
        questions = questions_for(self.metas, self.generator.keys, self.settings.count, self.settings.file)
        outputs = {scale: self.outputs(questions, scale) for scale in self.settings.guidance}
        status("")
        signatures = {scale: self.signatures_of(outputs[scale]) for scale in outputs}
        nearest = {scale: self.domain.nearest(signatures[scale], self.signatures) for scale in outputs}
        by_guidance = {scale: self.agreements(questions, nearest[scale]) for scale in outputs}
        rows = {scale: self.numbers_of(outputs[scale]) for scale in outputs}
        described = {
            scale: descriptions(rows[scale])
            | self.reconstructions.ratios(rows[scale], nearest[scale])
            | self.comparisons(signatures[scale], references)
            for scale in outputs
        }
        report = by_guidance[self.settings.judged_guidance] | {
            "by_guidance": {f"{scale:g}": by_guidance[scale] | described[scale] for scale in outputs},
            **about,
            "measured_with": asdict(self.settings),
            "prompts": [{"prompt": one.text, "name": one.name, "class": one.kind} for one in questions],
        }
        write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / "prompts.json")
        with side_file(folder / "prompts.png"):
            write_picture(self.sheet(questions, outputs), folder / "prompts.png")
        for scale in outputs:
            self.print_figures(scale, by_guidance[scale], described[scale])
        result(f"{folder}/prompts.json and .png")
        return folder / "prompts.json"

    def print_figures(
        self, scale: float, agreements: Mapping[str, Any], described: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Those of one guidance, a line each."""
        for label, figures in agreements.items():
            result(
                f"guidance {scale:g}: nearest training {self.domain.noun} has the prompted {label}: "
                f"{figures['share']:.1%}, by chance {figures['chance']:.2%}, {figures['lift']:.1f} times as often"
            )
        for label, numbers in described.items():
            result(f"guidance {scale:g}: {label} " + ", ".join(f"{name} {value:g}" for name, value in numbers.items()))

    def outputs(self, questions: Sequence[Question], scale: float) -> list[Outputs]:
        """One output per question and seed; the seeds of a question are adjacent."""
        jobs = [(question, seed) for question in questions for seed in self.settings.seeds]
        outputs: list[Outputs] = []
        for start in range(0, len(jobs), self.settings.batch_size):
            part = jobs[start : start + self.settings.batch_size]
            batch = asked_with([question for question, _ in part], self.generator.keys)
            latents = self.generator(batch, [seed for _, seed in part], scale)  # (B, T, C)
            decoded = self.domain.decode(self.autoencoder, latents, self.settings.resolution)
            outputs += [decoded[index] for index in range(len(part))]
            status(f"guidance {scale:g}: {len(outputs)}/{len(jobs)}")
        return outputs

    def signatures_of(self, outputs: Sequence[Outputs]) -> list[np.ndarray]:
        return [signature for output in outputs for signature in self.domain.signatures(output)]

    def comparisons(
        self, signatures: Sequence[np.ndarray], references: Mapping[str, Sequence[np.ndarray]]
    ) -> dict[str, dict[str, float]]:
        """The domain's comparison of outputs with these signatures, as a set, with each split."""
        sets = references.items()
        figures = {f"against {split}": self.domain.compare_sets(signatures, stored) for split, stored in sets}
        return {label: numbers for label, numbers in figures.items() if numbers}

    def agreements(self, questions: Sequence[Question], nearest: NDArray[np.int64]) -> dict[str, Any]:
        """Agreement of names and of classes, between prompts and the training samples nearest to the outputs."""
        figures = agreements(nearest, [one for one in questions for _ in self.settings.seeds], self.metas)
        if not figures:
            noun = self.domain.noun
            log.warning("no prompt contains the name of a training %s, so agreement is not measured", noun)
        return figures

    def numbers_of(self, outputs: Sequence[Outputs]) -> list[dict[str, float] | None]:
        """What the domain counts of each output; None of empty ones."""
        return [None if output.is_empty else self.domain.describe(output) for output in outputs]

    def sheet(self, questions: Sequence[Question], outputs: Mapping[float, Sequence[Outputs]]) -> Image.Image:
        """A row for each question, a column for each guidance and seed."""
        size, seeds = self.settings.picture_size, self.settings.seeds
        pictures = {scale: [output.picture(size) for output in column] for scale, column in outputs.items()}
        columns = [pictures[scale][place :: len(seeds)] for scale in outputs for place in range(len(seeds))]
        rows = [[column[row] for column in columns] for row in range(len(questions))]
        heads = [f"guidance {scale:g}\nseed {seed}" for scale in outputs for seed in seeds]
        return picture_sheet(rows, [question.text.replace("_", " ") for question in questions], heads, cell=size)


def descriptions(numbers: Sequence[Mapping[str, float] | None]) -> dict[str, dict[str, float]]:
    """How many outputs are empty, whose row is None; median and 90th percentile of each number of the others."""
    rows = [row for row in numbers if row is not None]
    return {"empty": {"count": float(len(numbers) - len(rows)), "of": float(len(numbers))}} | spread(rows)


def agreements(
    nearest: NDArray[np.int64], questions: Sequence[Question], metas: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Agreement of names and of classes, over the outputs whose question has such a label.

    Args:
        nearest: index (G,) of the training sample nearest to each output.
        questions: G questions, one per output.
        metas: of the training samples.
    """
    figures = {}
    for label, targets, training_labels in (
        ("name", [question.name for question in questions], [meta["name"].lower() for meta in metas]),
        ("class", [question.kind for question in questions], [meta["class"] for meta in metas]),
    ):
        rows = [row for row, value in enumerate(targets) if value is not None]
        if rows:
            measured = agreement(nearest[rows], [str(targets[row]) for row in rows], training_labels)
            figures[label] = {
                "share": measured.share,
                "chance": measured.chance,
                "lift": measured.lift,
                "samples": len(rows),
            }
    return figures
