"""The model card: model, training data, training, figures; a person adds the limits."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fieldforge.publishing.assets import Asset, licences
from fieldforge.publishing.rounding import Rounded
from fieldforge.terminal import duration, quantity
from fieldforge.training.callbacks.metrics_table import read_table

HEADING = "## Limits (a person writes this)"
"""From here on the card is a person's: publishing again leaves it as it is."""
BLANK = "Not written yet: what the model does badly, and what it should not be used for."
ASKED = {"caption": 'prompt="…"', "class": "class=…", "image": "image=photo.png", "first_frame": "image=photo.png"}
"""What a model reads → how sample.py is told."""
NO_FIGURES = ("measured_with", "per_asset", "prompts", "run", "data", "fingerprint", "split", "intervals")
"""Of a report of evaluate.py, at any depth."""


@dataclass(frozen=True)
class Training:
    """A training behind a model: its label, and its directory if it is on this machine."""

    label: Mapping[str, Any]
    folder: Path | None

    @property
    def sentence(self) -> str:
        steps, seconds = self.label.get("steps"), 0.0 if self.folder is None else spent_seconds(self.folder)
        length = quantity(steps, "step") if isinstance(steps, int) else "steps unknown"
        time = f" in {duration(seconds)}" if seconds else ""
        return f"{self.label.get('stage', 'autoencoder')} {self.label['fingerprint']}: {length}{time}"


def card_text(
    name: str,
    model: Rounded,
    sizes: Mapping[str, int],
    trainings: Sequence[Training],
    assets: Sequence[Asset],
    command: str | None,
    pictures: Sequence[str],
) -> str:
    """The card without its header, and without the part that a person writes.

    Args:
        name: of the published model's folder.
        model: the weights.
        sizes: bytes of their files by name.
        trainings: trainings behind the weights.
        assets: of the training split.
        command: of the training; None: unknown.
        pictures: names of their files.
    """
    counts = ", ".join(f"{licence}: {count}" for licence, count in licences(assets).most_common())
    lines = [
        f"# {name}",
        "Trained weights of Fieldforge; its docs/pretrained.md says how they are used. `python export.py format=card` "
        "writes this page, and a person its last part.",
        *(f"![{Path(picture).stem}]({picture})" for picture in pictures),
        use(name, model.reads),
        table(("Fact", "Value"), _facts(model, sizes, trainings, command)),
        "## Data",
        f"{quantity(len(assets), 'asset')} to train on, each with its creator and licence in [assets.csv](assets.csv). "
        f"By licence: {counts}.",
        "## Figures",
        table(("Measure", "Value"), dict(all_figures(trainings))) if any(all_figures(trainings)) else "None are there.",
    ]
    return "\n\n".join(lines) + "\n\n"


def use(name: str, reads: Collection[str]) -> str:
    """Commands that load the model."""
    asked = " ".join(option for key, option in ASKED.items() if key in reads)
    return "\n".join(
        (
            "```sh",
            f"python sample.py run=hub:<owner>/{name} {asked}".rstrip() + "   # or run=<this folder>",
            f"python evaluate.py run=hub:<owner>/{name} data_root=<shards>",
            f"python train.py experiment=… init_from=hub:<owner>/{name} data.root=<shards>   # trained on",
            "```",
        )
    )


def _facts(
    model: Rounded, sizes: Mapping[str, int], trainings: Sequence[Training], command: str | None
) -> dict[str, str]:
    errors = ", ".join(f"{kind} {error:.1e}" for kind, error in sorted(model.errors.items(), key=lambda pair: pair[1]))
    files = ", ".join(f"`{file}` {size / 1e6:.1f} MB" for file, size in sizes.items())
    config = model.label["config"]
    return {
        "Weights": f"{files}; {model.parameters:,} parameters in {model.precision}",
        "Change by rounding": f"{errors}, relative to what the model makes in full precision (root mean square)",
        "Trained by": f"`{command}`" if command else "(command not given)",
        "Name of the training": f"`{config.get('name', '')}`, seed {config.get('seed', '')}",
        "Trainings": "; ".join(training.sentence for training in trainings),
        "Asked by": ", ".join(config.get("conditioner", {}).get("sources", [])) or "nothing",
    }


def persons_part(card: Path) -> str:
    """The person's part of an existing card; a blank to fill in where there is no card."""
    text = card.read_text() if card.is_file() else ""
    _, heading, written = text.partition(HEADING)
    return heading + written if heading else f"{HEADING}\n\n{BLANK}\n"


def table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    return "\n".join(lines)


def spent_seconds(run: Path) -> float:
    """Wall clock of a run's steps, from its `metrics.csv`; 0 without the file."""
    seconds, before = 0.0, 0
    for step, row in sorted(read_table(run / "metrics.csv").items()):
        if "speed/step_seconds" in row:
            seconds, before = seconds + (step - before) * row["speed/step_seconds"], step
    return seconds


def all_figures(trainings: Sequence[Training]) -> Iterator[tuple[str, str]]:
    """Every number in the reports that evaluate.py wrote of the trainings: `prompts.name.share` → its text."""
    for training in trainings:
        reports = training.folder.glob("evaluation/*.json") if training.folder else ()
        for report in sorted(reports):
            content = json.loads(report.read_text())
            yield from figures(content, report.stem)


def figures(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Dotted path and text of every number in a report."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in NO_FIGURES:
                yield from figures(item, f"{path}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, f"{value:.4g}"
