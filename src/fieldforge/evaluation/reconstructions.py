"""Reconstruction quality of an autoencoder on held-out samples."""

from __future__ import annotations

import json
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
from fieldforge.evaluation.settings import EvaluationSettings, ReconstructionSettings
from fieldforge.rendering.bitmaps import write_picture, write_whole
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.diffusion_stage import load_domain
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.terminal import quantity, result, status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.side_files import side_file


def evaluate_autoencoder(model: Path, settings: EvaluationSettings) -> Path:
    """Measure reconstructions of a split; writes `evaluation/<split>.json` and `.png` beside the model.

    Reconstructions pass through the latents of the diffusion.
    """
    autoencoder, label = load_autoencoder(model, best_device(settings.device))
    warn_if_untrained(label, model.parent)
    domain = load_domain(label, model, settings.domain)
    root = data_root(settings.data_root, label["config"], model)
    samples, split = heldout_samples(domain, root, settings.split, settings.limit), settings.split
    assets = measurements(autoencoder, domain, samples, settings.reconstruction.resolution)
    means, medians = statistics(assets)
    report: dict[str, Any] = {
        "run": str(model.parent),
        "fingerprint": label["fingerprint"],
        "data": str(root),
        "split": split,
        "assets": len(assets),
        "measured_with": asdict(settings.reconstruction) | domain.settings(),
        "mean": means,
        "median": medians,
        "quarters": quarters(assets, domain.quarters_by, domain.shown_measures),
        "per_asset": assets,
    }
    folder = model.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / f"{split}.json")
    if settings.reconstruction.pictures:
        with side_file(folder / f"{split}.png"):
            write_picture(sheet(autoencoder, domain, samples, assets, settings.reconstruction), folder / f"{split}.png")
    for name, mean in means.items():
        result(f"{name:28s} {mean:8.4f}   median {medians[name]:8.4f}")
    for quarter in report["quarters"]:
        about = ", ".join(f"{name} {quarter[name]:.4f}" for name in domain.shown_measures)
        result(f"{domain.quarters_by} up to {quarter['up_to']:.4f}: {about}")
    result(f"{quantity(len(assets), 'asset')} of {split}; {folder / split}.json and .png")
    return folder / f"{split}.json"


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
    """Mean and median of every measure."""
    names = [name for name, value in assets[0].items() if isinstance(value, float)]
    columns = {name: [asset[name] for asset in assets] for name in names}
    return (
        {name: fmean(values) for name, values in columns.items()},
        {name: median(values) for name, values in columns.items()},
    )


def quarters(assets: Sequence[Mapping[str, Any]], by: str, names: Sequence[str]) -> list[dict[str, float]]:
    """Means of measures over each quarter of the assets ordered by the measure `by`, and its upper limit `up_to`.

    Empty without `by`, or with fewer assets than quarters.
    """
    if not by or len(assets) < 4:
        return []
    ordered = sorted(assets, key=lambda asset: asset[by])
    bounds = [len(ordered) * quarter // 4 for quarter in range(5)]
    parts = [ordered[first:last] for first, last in pairwise(bounds)]
    return [{"up_to": part[-1][by]} | {name: fmean(asset[name] for asset in part) for name in names} for part in parts]


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
