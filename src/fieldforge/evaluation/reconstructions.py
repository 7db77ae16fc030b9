"""Reconstruction quality of an autoencoder on held-out samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.stored_config import data_root
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Key, Meta, Transform
from fieldforge.domains.domain import Domain
from fieldforge.evaluation.evaluation_report import INTERVALS, Column, Sheet, table_of, write_report
from fieldforge.evaluation.settings import EvaluationSettings, ReconstructionSettings
from fieldforge.metrics.measures import measure_of
from fieldforge.rendering.report_page import Table
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.diffusion_stage import load_domain
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.terminal import quantity, result, status
from fieldforge.training.processes.hardware import best_device

Asset = Mapping[str, Any]
"""Key, name, class and measures of a sample."""


def evaluate_autoencoder(model: Path, settings: EvaluationSettings) -> Path:
    """Measure reconstructions of a split; writes `evaluation/<split>.json`, `.html` and `.png` beside the model.

    Reconstructions pass through the latents of the diffusion.
    """
    autoencoder, label = load_autoencoder(model, best_device(settings.device))
    warn_if_untrained(label, model.parent)
    domain = load_domain(label, model, settings.domain)
    root = data_root(settings.data_root, label["config"], model)
    samples, split = heldout_samples(domain, root, settings.split, settings.limit), settings.split
    assets = measurements(autoencoder, domain, samples, settings.reconstruction.resolution)
    report = {
        "run": str(model.parent),
        "fingerprint": label["fingerprint"],
        "data": str(root),
        "split": split,
        "measured_with": asdict(settings.reconstruction) | domain.settings(),
    }
    folder = model.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    pictures = settings.reconstruction.pictures
    draw = {f"{split}.png": lambda: sheet(autoencoder, domain, samples, assets, settings.reconstruction)}
    report_assets(assets, domain, report, folder / f"{split}.json", draw if pictures else {})
    return folder / f"{split}.json"


def report_assets(
    assets: Sequence[Asset], domain: Domain, about: Mapping[str, Any], path: Path, sheets: Mapping[str, Sheet]
) -> None:
    """Write and print the figures of all assets, and of their quarters."""
    means, medians = statistics(assets)
    whole, parts = Column.of_rows("reconstructions", assets), quarters(assets, domain.quarters_by)
    divided = {by: [means_of(part, by, domain.shown_measures) for part in each] for by, each in parts.items()}
    figures = {"assets": len(assets), "mean": means, "median": medians, "intervals": whole.plain, "quarters": divided}
    note = f"{quantity(len(assets), domain.noun)} of {about['split']}; {INTERVALS} them"
    tables = [table_of("All samples", note, [whole]), *(quarter_table(by, each) for by, each in parts.items())]
    write_report(path, {**about, **figures, "per_asset": assets}, "Reconstructions", tables, sheets)
    for name, mean in means.items():
        result(f"{name:28s} {mean:8.4f}   median {medians[name]:8.4f}")
    for by, each in divided.items():
        for quarter in each:
            about_it = ", ".join(f"{name} {quarter[name]:.4f}" for name in domain.shown_measures)
            result(f"{by} up to {quarter['up_to']:.4f}: {about_it}")
    files = ".json, .html and .png" if sheets else ".json and .html"
    result(f"{quantity(len(assets), 'asset')} of {about['split']}; {path.with_suffix('')}{files}")


def heldout_samples(domain: Domain, root: str, split: str, limit: int | None) -> HeldOut:
    """Yields the samples of a split with their truth."""
    transforms: list[Transform] = [*domain.input_transforms(), *domain.truth_transforms(), Meta(), Key()]
    return HeldOut(open_shards(root, split), transforms, seed=0, batch_size=1, limit=limit)


def measurements(autoencoder: Autoencoder, domain: Domain, samples: HeldOut, resolution: int) -> list[dict[str, Any]]:
    """Key, name, class and the domain's measures of every sample."""
    assets = []
    for number, batch in enumerate(samples):
        output = domain.reconstruct(autoencoder, batch, resolution)
        meta = batch["meta"][0]
        about = {"key": batch["key"][0], "name": meta["name"], "class": meta["class"]}
        assets.append({**about, **domain.measure(output, batch)})
        status(f"{number + 1}/{samples.samples} {meta['name'][:40]}")
    status("")
    return assets


def statistics(assets: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and median of every measure, over the samples to which it applies."""
    names = [name for name, value in assets[0].items() if isinstance(value, float)]
    columns = {name: [asset[name] for asset in assets if asset[name] == asset[name]] for name in names}
    return (
        {name: fmean(values) for name, values in columns.items() if values},
        {name: median(values) for name, values in columns.items() if values},
    )


def quarters(assets: Sequence[Asset], measures: Sequence[str]) -> dict[str, list[list[Asset]]]:
    """Measure → the quarters of the assets ordered by it.

    Empty with fewer assets than quarters; a measure that is the same for all assets divides none.
    """
    parts = {}
    for by in measures:
        ordered = sorted(assets, key=lambda asset: asset[by])
        if len(ordered) < 4 or ordered[0][by] == ordered[-1][by]:
            continue
        bounds = [len(ordered) * quarter // 4 for quarter in range(5)]
        parts[by] = [ordered[first:last] for first, last in pairwise(bounds)]
    return parts


def means_of(part: Sequence[Asset], by: str, names: Sequence[str]) -> dict[str, float]:
    """The means of a quarter, and the largest value of what it is a quarter by, `up_to`."""
    return {"up_to": part[-1][by]} | {name: fmean(asset[name] for asset in part) for name in names}


def quarter_table(by: str, parts: Sequence[Sequence[Asset]]) -> Table:
    """The measures of each quarter."""
    measure = measure_of(by)
    columns = [Column.of_rows(f"up to {measure.text(part[-1][by])}", part) for part in parts]
    return table_of(f"By {measure.title}", "a quarter of the samples in each column", columns)


def sheet(
    autoencoder: Autoencoder,
    domain: Domain,
    samples: HeldOut,
    assets: Sequence[Mapping[str, Any]],
    settings: ReconstructionSettings,
) -> Image.Image:
    """Truth and reconstruction of the first samples, with the measures of each."""
    rows, labels = [], []
    for batch, asset in zip(samples, assets[: settings.pictures], strict=False):
        output = domain.reconstruct(autoencoder, batch, settings.resolution)
        rows += domain.compare(output, batch, settings.picture_size)
        numbers = [f"{name} {asset[name]:.2f}" for name in domain.shown_measures]
        labels.append("\n".join([asset["name"], *numbers]))
    return picture_sheet(rows, labels, list(domain.comparison_heads), cell=settings.picture_size)
