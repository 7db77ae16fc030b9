"""Super-resolution of held-out samples compared with interpolation: the domain's numbers, and a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.configuration.stored_config import plain_config
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Transform
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.evaluation.evaluation_report import (
    INTERVALS,
    columns_of,
    figures_of,
    print_means,
    table_of,
    write_report,
)
from fieldforge.evaluation.settings import EnlargingSettings
from fieldforge.generation import Generator
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import conditions
from fieldforge.terminal import result, status

MODEL, PLAIN, OWN = "enlarged by the model", "interpolated", "the autoencoder's own"
"""Ways to a large sample; no model of its latents surpasses what an autoencoder makes of the large sample itself."""
ANOTHER = 1000  # added to seeds, for the second column of the sheet


def evaluate_enlargements(
    judge: EnlargementJudge, label: Mapping[str, Any], root: Any, about: Mapping[str, Any], folder: Path
) -> Path:
    """Writes `enlargements.json`, `.html` and `.png` into `folder`; returns the path of the first.

    Args:
        judge: of the run.
        label: of the run.
        root: its sample shards.
        about: facts about the run for the report.
        folder: for the files.
    """
    samples = judge.heldout(label, root)
    outputs = judge.outputs(samples)
    status("")
    columns = columns_of(judge.domain, outputs, samples["input"])
    report = {**about, "samples": len(samples["input"]), "measured_with": asdict(judge.settings), **figures_of(columns)}
    path, note = folder / "enlargements.json", f"held-out samples; {INTERVALS} them"
    tables = [table_of("All samples", f"{len(samples['input'])} {note}", columns)]
    write_report(path, report, "Enlargements", tables, {"enlargements.png": lambda: judge.sheet(outputs, samples)})
    print_means(columns)
    result(f"{len(samples['input'])} held-out {judge.domain.noun}s; {folder}/enlargements.json, .html and .png")
    return path


@dataclass(frozen=True)
class EnlargementJudge:
    """Enlarges held-out samples with the model, and without it by interpolation.

    Args:
        generator, autoencoder, domain: of the run.
        settings: the block `enlarging` of the configuration.
    """

    generator: Generator
    autoencoder: Autoencoder
    domain: Domain
    settings: EnlargingSettings

    def heldout(self, label: Mapping[str, Any], root: Any) -> dict[str, Any]:
        """The first held-out samples as one batch: `input`, `coarse`, and the model's other conditions."""
        transforms = [*self.domain.input_transforms(), *coarse_transforms(label)]
        return conditions(
            self.domain, open_shards(root, "heldout"), self.generator.keys, self.settings.count, transforms
        )

    def outputs(self, samples: Mapping[str, Any]) -> dict[str, list[Outputs]]:
        """Method → one output per sample."""
        plain, own = (
            [outputs[index] for index in range(len(outputs))]
            for outputs in (
                self.domain.interpolated(samples["coarse"]),
                self.domain.reconstruct(self.autoencoder, samples),
            )
        )
        return {MODEL: self.enlarged(samples, 0), PLAIN: plain, OWN: own}

    def enlarged(self, samples: Mapping[str, Any], seed: int, count: int | None = None) -> list[Outputs]:
        """The model's enlargements of the first `count` samples; sample i has seed `seed` + i."""
        generator, outputs = self.generator.with_steps(self.settings.steps), list[Outputs]()
        total = len(samples["coarse"]) if count is None else count
        for start in range(0, total, self.settings.batch_size):
            part = slice(start, min(start + self.settings.batch_size, total))
            batch = {key: samples[key][part] for key in generator.keys}
            seeds = [seed + index for index in range(part.start, part.stop)]
            decoded = self.domain.decode(self.autoencoder, generator(batch, seeds, self.settings.guidance))
            outputs += [decoded[index] for index in range(len(decoded))]
            status(f"enlarged: {len(outputs)}/{total}")
        return outputs

    def sheet(self, outputs: Mapping[str, Sequence[Outputs]], samples: Mapping[str, Any]) -> Image.Image:
        """A row per sample: low-resolution input, interpolation, the model with two seeds, the truth."""
        size, count = self.settings.picture_size, min(self.settings.pictures, len(samples["input"]))
        truth = {"input": samples["input"][:count]}
        columns = {
            PLAIN: outputs[PLAIN],
            "one seed": outputs[MODEL],
            "another": self.enlarged(samples, ANOTHER, count),
        }
        true = [row[0] for row in self.domain.compare(self.domain.interpolated(samples["coarse"][:count]), truth, size)]
        rows = [[*(column[row].picture(size) for column in columns.values()), true[row]] for row in range(count)]
        names = [meta["name"].replace("_", " ") for meta in samples["meta"][:count]]
        return picture_sheet(rows, names, [*columns, "true"], cell=size)


def coarse_transforms(label: Mapping[str, Any]) -> list[Transform]:
    """The transforms stored sample → `coarse` of the run's training."""
    config = plain_config(label["config"])
    stages = config.latent_data.transforms
    keys = [name for name in stages if stages[name] is not None and "transform" in stages[name]]
    return [build(config, f"latent_data.transforms.{name}.transform", trusted=False) for name in keys]
