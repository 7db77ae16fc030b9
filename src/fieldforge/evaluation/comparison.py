"""Compares models on the same prompts and seeds: measures with intervals, a page and a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fieldforge.conditioning.prompts import frequent_names
from fieldforge.configuration.stored_config import data_root
from fieldforge.domains.domain import Outputs
from fieldforge.errors import UserError
from fieldforge.evaluation.contenders import Contender, FolderContender, Job, RunContender, contenders_of
from fieldforge.evaluation.evaluation_report import plain_json
from fieldforge.evaluation.questions import Question, questions_of, texts_of
from fieldforge.evaluation.settings import ComparisonSettings
from fieldforge.metrics.bootstrap import Figure, Resampling
from fieldforge.metrics.measures import MEASURES
from fieldforge.stages.sample_judge import Measurements, SampleJudge
from fieldforge.storage.file_names import slug


@dataclass(frozen=True)
class Comparison:
    """All contenders' outputs for prompts × seeds, with their measures.

    Args:
        jobs: prompts × seeds, the seeds of a prompt beside each other.
        outputs: contender → an output for each job.
        measurements: contender → measurements.
        stored_distance: see `SampleJudge`: the reference of `nearest_distance`.
    """

    jobs: Sequence[Job]
    outputs: Mapping[str, Sequence[Outputs]]
    measurements: Mapping[str, Measurements]
    stored_distance: float

    @property
    def prompts(self) -> list[str]:
        return list(dict.fromkeys(question.text for question, _ in self.jobs))

    @property
    def seeds(self) -> list[int]:
        return list(dict.fromkeys(seed for _, seed in self.jobs))

    @property
    def measured(self) -> list[str]:
        """Names of the measures that some contender has a value of."""
        every = [one.rows for one in self.measurements.values()]
        return [name for name in MEASURES if any(np.isfinite(rows[name]).any() for rows in every)]

    def figures(self) -> dict[str, dict[str, dict[str, Figure]]]:
        """Contender → "mean", and but for the first "difference" to the first → measure → figure.

        Prompts are resampled, the same ones for all contenders, so that differences are paired.
        """
        places = {text: place for place, text in enumerate(self.prompts)}
        groups = np.array([places[question.text] for question, _ in self.jobs])
        resampling = Resampling.of(len(places))
        first = next(iter(self.measurements.values())).rows
        figures = {}
        for number, (contender, one) in enumerate(self.measurements.items()):
            rows = one.rows
            means = {name: resampling.figure(rows[name], groups) for name in self.measured}
            figures[contender] = {"mean": means}
            if number:
                figures[contender]["difference"] = {
                    name: resampling.difference(rows[name], first[name], groups) for name in self.measured
                }
        return figures


def compare_models(settings: ComparisonSettings) -> tuple[Comparison, dict[str, Any]]:
    """The comparison, and what the report says about it.

    Raises:
        UserError: an invalid setting, run, folder or prompt; before anything is sampled.
    """
    first, contenders = contenders_of(settings)
    root = judging_shards(settings, contenders)
    judge = SampleJudge.of(first.domain, root)
    questions = asked(settings, judge.metas)
    jobs = [(question, seed) for question in questions for seed in settings.seeds]
    check_all(contenders, questions, jobs)
    outputs = {contender.name: contender.outputs(jobs) for contender in contenders}
    measurements = {name: judge.measure([question for question, _ in jobs], each) for name, each in outputs.items()}
    comparison = Comparison(jobs, outputs, measurements, judge.stored_distance)
    return comparison, {"data": str(root), "runs": settings.named, "measured_with": asdict(settings)}


def judging_shards(settings: ComparisonSettings, contenders: Sequence[Contender]) -> Any:
    """The shards of the command, or those of the first run that was trained on folders of this machine.

    Raises:
        UserError: no run names such folders; the first one's sentence.
    """
    errors = []
    for run in (each for each in contenders if isinstance(each, RunContender)):
        try:
            return data_root(settings.data_root, run.label["config"], run.model)
        except UserError as error:
            errors.append(error)
    raise errors[0]


def asked(settings: ComparisonSettings, metas: Sequence[Mapping[str, Any]]) -> list[Question]:
    """The prompts of the command. UserError for two whose file names would be the same."""
    texts = settings.prompts
    if texts is None:
        texts = frequent_names(metas, settings.count)
    questions = questions_of(texts_of(texts, "prompts") if isinstance(texts, str) else texts, metas, {"caption"})
    names: dict[str, str] = {}
    for question in questions:
        other = names.setdefault(slug(question.text), question.text)
        if other != question.text:
            raise UserError(f"prompts: {other!r} and {question.text!r} would have the same file name: leave one out")
    return list({question.text: question for question in questions}.values())


def check_all(contenders: Sequence[Contender], questions: Sequence[Question], jobs: Sequence[Job]) -> None:
    """UserError for the first prompt that a contender cannot answer."""
    for contender in contenders:
        contender.check(questions)
        if isinstance(contender, FolderContender):
            for job in jobs:
                contender.file(job)


def report_of(comparison: Comparison, about: Mapping[str, Any]) -> bytes:
    """The report as JSON; NaN, which JSON has not, are null."""
    figures = comparison.figures()
    report = {
        **about,
        "prompts": comparison.prompts,
        "seeds": comparison.seeds,
        "heldout_nearest_distance": comparison.stored_distance,
        "measures": {name: asdict(MEASURES[name]) for name in comparison.measured},
        "contenders": {
            name: {kind: {key: asdict(one) for key, one in each.items()} for kind, each in figures[name].items()}
            | {"sets": comparison.measurements[name].sets}
            | {"samples": samples_of(comparison, name)}
            for name in comparison.outputs
        },
    }
    return plain_json(report)


def samples_of(comparison: Comparison, contender: str) -> list[dict[str, Any]]:
    """Prompt, seed and measures of each output."""
    rows = comparison.measurements[contender].rows
    return [
        {"prompt": question.text, "seed": seed, **{name: float(rows[name][place]) for name in comparison.measured}}
        for place, (question, seed) in enumerate(comparison.jobs)
    ]
