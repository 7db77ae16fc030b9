"""Compares models on the same prompts and seeds: measures with intervals, a page and a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
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
from fieldforge.metrics.measures import measure_of
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

    @cached_property
    def measured(self) -> list[str]:
        """Names of the measures that some contender has a value of."""
        names = dict.fromkeys(name for one in self.measurements.values() for name in one.rows)
        return [name for name in names if any(np.isfinite(self.values(one, name)).any() for one in self.measurements)]

    def values(self, contender: str, measure: str) -> np.ndarray:
        """(N,) of a contender's outputs; NaN where the measure does not apply."""
        return self.measurements[contender].rows.get(measure, np.full(len(self.jobs), np.nan))

    def figures(self) -> dict[str, dict[str, dict[str, Figure]]]:
        """Contender → "mean", and but for the first "difference" to the first → measure → figure.

        Prompts are resampled, the same ones for all contenders, so that differences are paired.
        """
        places = {text: place for place, text in enumerate(self.prompts)}
        groups = np.array([places[question.text] for question, _ in self.jobs])
        resampling = Resampling.of(len(places))
        rows = {one: {name: self.values(one, name) for name in self.measured} for one in self.measurements}
        first = next(iter(rows.values()))
        figures = {}
        for number, (contender, own) in enumerate(rows.items()):
            figures[contender] = {"mean": {name: resampling.figure(each, groups) for name, each in own.items()}}
            if number:
                figures[contender]["difference"] = {
                    name: resampling.difference(each, first[name], groups) for name, each in own.items()
                }
        return figures


def compare_models(settings: ComparisonSettings) -> tuple[Comparison, dict[str, Any]]:
    """The comparison, and what the report says about it.

    Raises:
        UserError: an invalid setting, run, folder or prompt; before anything is sampled.
    """
    texts = texts_of(settings.prompts, "prompts") if isinstance(settings.prompts, str) else settings.prompts
    first, contenders = contenders_of(settings)
    root = judging_shards(settings, contenders)
    judge = SampleJudge.of(first.domain, root)
    questions = asked(texts, settings.count, judge.metas)
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


def asked(texts: Sequence[str] | None, count: int, metas: Sequence[Mapping[str, Any]]) -> list[Question]:
    """The prompts of the command, or the most frequent names. UserError for two whose file names would be the same."""
    questions = questions_of(frequent_names(metas, count) if texts is None else texts, metas, {"caption"})
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
        "measures": {name: asdict(measure_of(name)) for name in comparison.measured},
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
    rows = {name: comparison.values(contender, name) for name in comparison.measured}
    return [
        {"prompt": question.text, "seed": seed, **{name: float(each[place]) for name, each in rows.items()}}
        for place, (question, seed) in enumerate(comparison.jobs)
    ]
