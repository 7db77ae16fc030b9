"""Body of compare.py: several models on the same prompts and seeds → a page, a sheet and a table of measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from PIL import Image

from fieldforge.configuration.settings import read_settings
from fieldforge.configuration.stored_config import naming_data_root
from fieldforge.evaluation.comparison import Comparison, compare_models, report_of
from fieldforge.evaluation.settings import ComparisonSettings
from fieldforge.exchange.shap_e_files import is_foreign
from fieldforge.metrics.bootstrap import Figure
from fieldforge.metrics.measures import Measure, measure_of
from fieldforge.rendering.bitmaps import write_picture, write_whole
from fieldforge.rendering.comparison_page import TableRow, write_comparison
from fieldforge.rendering.gallery import Exhibit, Media
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.runs.foreign_models import local_run
from fieldforge.storage.file_names import slug
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import quantity, result
from fieldforge.training.processes.side_files import side_file

POSTER = 320  # pixels
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


def run_comparison(config: DictConfig) -> Path:
    """Compare the models and write `index.html`, `comparison.json` and `comparison.png`; returns the first's path.

    Raises:
        UserError: an invalid setting, run, folder or prompt; then no folder is made.
    """
    settings = read_settings(config, ComparisonSettings)
    local = {name: own_place(place, settings.output_dir) for name, place in settings.named.items()}
    settings = replace(settings, runs=local)
    with naming_data_root(settings.data_root):
        comparison, about = compare_models(settings)
    own = Path(settings.output_dir) / "comparisons" / slug(" ".join(settings.named))
    folder = make_folder(own if settings.output is None else Path(settings.output), "output")
    with writing(folder, MACHINE):
        write_whole(report_of(comparison, about), folder / "comparison.json")
        rows = table_of(comparison)
        with side_file(folder / "comparison.png"):
            write_picture(sheet_of(comparison, settings.picture_size), folder / "comparison.png")
        samples = quantity(len(comparison.jobs), "sample")
        subtitle = f"{samples} each at guidance {settings.guidance_scale:g}; 95 % intervals by resampling prompts"
        write_comparison(
            folder / "index.html", "Comparison", subtitle, list(comparison.outputs), rows, exhibits_of(comparison)
        )
    for row in rows:
        cells = zip(comparison.outputs, row.cells, strict=True)
        words = "; ".join(f"{name} {' · '.join(cell.splitlines())}" for name, cell in cells)
        result(f"{row.title} ({row.note}): {words}")
    result(f"{folder}/index.html, comparison.json and .png")
    return folder / "index.html"


def own_place(place: str, output_dir: str) -> str:
    """A run of this machine, in the place of one of others' weights."""
    return str(local_run(place, output_dir)) if is_foreign(place) else place


def table_of(comparison: Comparison) -> list[TableRow]:
    """Measures of samples with their intervals and differences to the first model, then those of sets."""
    figures = comparison.figures()
    rows = [
        TableRow(
            f"{measure.title} {ARROWS[measure.better]}".rstrip(),
            f"reference: {reference_of(comparison, measure)}",
            [cell(measure, each) for each in figures.values()],
        )
        for measure in map(measure_of, comparison.measured)
    ]
    every = [one.sets for one in comparison.measurements.values()]
    for split in dict.fromkeys(split for sets in every for split in sets):
        for measure in map(measure_of, dict.fromkeys(name for sets in every for name in sets.get(split, {}))):
            values = [measure.text(sets.get(split, {}).get(measure.name, float("nan"))) for sets in every]
            rows.append(TableRow(f"{measure.title} {ARROWS[measure.better]}".rstrip(), f"against {split}", values))
    return rows


def reference_of(comparison: Comparison, measure: Measure) -> str:
    """The reference of a measure, with its value where it has one."""
    if measure.name != "nearest_distance":
        return measure.reference
    return f"{measure.reference}: {measure.text(comparison.stored_distance)}"


def cell(measure: Measure, figures: Mapping[str, Mapping[str, Figure]]) -> str:
    """The mean and its interval; below it the difference to the first model."""
    one = figures["mean"][measure.name]
    lines = [f"{measure.text(one.mean)} ({measure.text(one.low)} … {measure.text(one.high)})"]
    if (other := figures.get("difference", {}).get(measure.name)) is not None:
        lines.append(f"difference {measure.text(other.mean)} ({measure.text(other.low)} … {measure.text(other.high)})")
    return "\n".join(lines)


def exhibits_of(comparison: Comparison) -> dict[str, list[list[Exhibit]]]:
    """Prompt → model → an exhibit for each seed."""
    exhibits: dict[str, list[list[Exhibit]]] = {
        prompt: [[] for _ in comparison.outputs] for prompt in comparison.prompts
    }
    for number, (model, outputs) in enumerate(comparison.outputs.items()):
        for (question, seed), output in zip(comparison.jobs, outputs, strict=True):
            media = output.media()
            facts = {"model": model, "seed": seed}
            one = Exhibit(question.text, output.picture(POSTER), Media(*media) if media else None, facts)
            exhibits[question.text][number].append(one)
    return exhibits


def sheet_of(comparison: Comparison, size: int) -> Image.Image:
    """A row for each prompt, a column for each model and seed."""
    every = comparison.outputs.items()
    seeds = comparison.seeds
    rows = [
        [output.picture(size) for _, outputs in every for output in outputs[start : start + len(seeds)]]
        for start in range(0, len(comparison.jobs), len(seeds))
    ]
    heads = [f"{model[:18]}\nseed {seed}" for model, _ in every for seed in seeds]
    return picture_sheet(rows, [prompt.replace("_", " ") for prompt in comparison.prompts], heads, cell=size)
