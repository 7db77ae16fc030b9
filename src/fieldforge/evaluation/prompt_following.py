"""Prompt agreement of generated samples: a sheet of prompts × seeds × guidance scales, and two numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.stored_config import data_root
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.evaluation.beside_nearest import NearestReconstructions, spread
from fieldforge.evaluation.clip_following import ClipJudge, evaluate_clips, started_from
from fieldforge.evaluation.enlargements import EnlargementJudge, evaluate_enlargements
from fieldforge.evaluation.evaluation_report import INTERVALS, Column, table_of, write_report
from fieldforge.evaluation.picture_following import evaluate_images
from fieldforge.evaluation.questions import Question, asked_with, questions_for
from fieldforge.evaluation.settings import EvaluationSettings, PromptSettings
from fieldforge.evaluation.text_image_agreement import TextImageJudge
from fieldforge.generation import Generator
from fieldforge.metrics.agreement import agreement
from fieldforge.metrics.measures import measure_of
from fieldforge.rendering.report_page import Table
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import folder_of
from fieldforge.stages.sample_judge import Measurements, SampleJudge
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.terminal import quantity, result, status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.precision import arithmetic_of

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
    judge = SampleJudge.of(domain, root, settings.prompts.views)
    if "image" in generator.keys:
        training = judge.metas, judge.signatures
        report = evaluate_images(generator, autoencoder, domain, root, training, settings.images, about, folder)
        if generator.keys == {"image"}:
            return report
    prompts = settings.prompts
    beside = NearestReconstructions(autoencoder, domain, root, prompts.resolution)
    return PromptJudge(generator.with_steps(prompts.steps), autoencoder, prompts, judge, beside).write(folder, about)


@dataclass(frozen=True)
class PromptJudge:
    """Generates from prompts, and finds the nearest training samples.

    Args:
        generator, autoencoder: of the run.
        settings: the block `prompts` of the configuration.
        judge: of the samples.
        reconstructions: of the training samples.
    """

    generator: Generator
    autoencoder: Autoencoder
    settings: PromptSettings
    judge: SampleJudge
    reconstructions: NearestReconstructions

    @property
    def domain(self) -> Domain:
        return self.judge.domain

    def write(self, folder: Path, about: Mapping[str, Any]) -> Path:
        """Writes `prompts.json`, `.html` and `.png` into `folder`, prints the figures; returns the first's path."""
        questions = questions_for(self.judge.metas, self.generator.keys, self.settings.count, self.settings.file)
        asked = [question for question in questions for _ in self.settings.seeds]
        _ = self.encoder  # what it lacks is told before anything is sampled
        outputs = {scale: self.outputs(questions, scale) for scale in self.settings.guidance}
        status("")
        measured = {scale: self.measured(questions, column) for scale, column in outputs.items()}
        by_guidance = {scale: self.agreements(asked, one.nearest) for scale, one in measured.items()}
        described = {scale: self.descriptions(one) for scale, one in measured.items()}
        columns = self.columns(asked, measured)
        report = by_guidance[self.settings.judged_guidance] | {
            "by_guidance": {
                f"{scale:g}": by_guidance[scale] | described[scale] | {"intervals": column.plain}
                for scale, column in zip(outputs, columns, strict=True)
            },
            "heldout_nearest_distance": self.judge.stored_distance,
            **about,
            "measured_with": asdict(self.settings),
            "prompts": [{"prompt": one.text, "name": one.name, "class": one.kind} for one in questions],
        }
        path = folder / "prompts.json"
        tables = [self.table(columns, len(questions)), *self.tables_by_prompt(questions, measured)]
        write_report(path, report, "Prompts", tables, {"prompts.png": lambda: self.sheet(questions, outputs)})
        for scale in outputs:
            self.print_figures(scale, by_guidance[scale], described[scale])
        result(f"{folder}/prompts.json, .html and .png")
        return path

    @cached_property
    def encoder(self) -> TextImageJudge | None:
        return None if self.settings.encoder is None else TextImageJudge.of(self.settings.encoder)

    def measured(self, questions: Sequence[Question], outputs: Sequence[Outputs]) -> Measurements:
        """The measures of all samples of a guidance, the seeds of a question beside each other."""
        seeds = len(self.settings.seeds)
        measured = self.judge.measure([question for question in questions for _ in range(seeds)], outputs)
        if self.encoder is None:
            return measured
        texts = list(dict.fromkeys(question.text for question in questions))
        target = np.repeat([texts.index(question.text) for question in questions], seeds)
        retrieved = self.encoder.retrieved(outputs, texts, target)
        return replace(measured, rows={**measured.rows, "retrieval": retrieved})

    def descriptions(self, measured: Measurements) -> dict[str, dict[str, float]]:
        """Empty samples, the domain's numbers alone and beside the nearest training samples, and measures of sets."""
        sets = {f"against {split}": dict(numbers) for split, numbers in measured.sets.items()}
        ratios = self.reconstructions.ratios(measured.described, measured.nearest)
        return descriptions(measured.described) | ratios | sets

    def columns(self, asked: Sequence[Question], measured: Mapping[float, Measurements]) -> list[Column]:
        """The samples of each guidance; those of a prompt are a group."""
        groups = np.arange(len(asked)) // len(self.settings.seeds)
        return [Column(f"guidance {scale:g}", one.rows, groups, one.sets) for scale, one in measured.items()]

    def table(self, columns: Sequence[Column], prompts: int) -> Table:
        stored = measure_of("nearest_distance")
        references = {stored.name: f"{stored.reference}: {stored.text(self.judge.stored_distance)}"}
        samples = f"{quantity(prompts, 'prompt')} × {quantity(len(self.settings.seeds), 'seed')}"
        return table_of("All samples", f"{samples}; {INTERVALS} prompts. Sets have none.", columns, references)

    def tables_by_prompt(self, questions: Sequence[Question], measured: Mapping[float, Measurements]) -> list[Table]:
        """The means of each prompt at the judged guidance: which are difficult."""
        scale, seeds = self.settings.judged_guidance, len(self.settings.seeds)
        rows = {name: values.reshape(-1, seeds) for name, values in measured[scale].rows.items()}
        names = [name for name, values in rows.items() if np.isfinite(values).any()]
        texts = [
            [question.text, *(measure_of(name).text(mean_of(rows[name][place])) for name in names)]
            for place, question in enumerate(questions)
        ]
        heads = ["prompt", *(measure_of(name).title for name in names)]
        return [Table("By prompt", f"means over seeds at guidance {scale:g}", heads, texts)]

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

    def agreements(self, asked: Sequence[Question], nearest: NDArray[np.int64]) -> dict[str, Any]:
        """Agreement of names and of classes, between prompts and the training samples nearest to the outputs."""
        figures = agreements(nearest, asked, self.judge.metas)
        if not figures:
            noun = self.domain.noun
            log.warning("no prompt contains the name of a training %s, so agreement is not measured", noun)
        return figures

    def sheet(self, questions: Sequence[Question], outputs: Mapping[float, Sequence[Outputs]]) -> Image.Image:
        """A row for each question, a column for each guidance and seed."""
        size, seeds = self.settings.picture_size, self.settings.seeds
        pictures = {scale: [output.picture(size) for output in column] for scale, column in outputs.items()}
        columns = [pictures[scale][place :: len(seeds)] for scale in outputs for place in range(len(seeds))]
        rows = [[column[row] for column in columns] for row in range(len(questions))]
        heads = [f"guidance {scale:g}\nseed {seed}" for scale in outputs for seed in seeds]
        return picture_sheet(rows, [question.text.replace("_", " ") for question in questions], heads, cell=size)


def mean_of(values: NDArray[np.float64]) -> float:
    """The mean of those that there are; NaN without any."""
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")


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
