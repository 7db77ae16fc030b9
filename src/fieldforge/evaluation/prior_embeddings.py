"""Evaluation of a prior: embeddings for held-out captions against those of held-out pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fieldforge.conditioning.stored import KeyedShards, embedding_folder, read_embeddings, samples_of
from fieldforge.configuration.stored_config import data_root, load_run
from fieldforge.errors import UserError
from fieldforge.evaluation.evaluation_report import INTERVALS, Column, table_of, write_report
from fieldforge.evaluation.picture_following import spread
from fieldforge.evaluation.settings import EvaluationSettings, PriorSettings
from fieldforge.generation import ImagePrior
from fieldforge.metrics.retrieval import Views, own_and_others, top_share
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import first_caption
from fieldforge.stages.fingerprint import differences
from fieldforge.stages.prior_stage import PriorStage, load_prior
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.terminal import quantity, result, status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.precision import arithmetic_of


def evaluate_prior(model: Path, settings: EvaluationSettings) -> Path:
    """Embeddings for the caption of every asset of a split; writes `prior.json`, `.html`, `.png` into `evaluation/`.

    Two figures use normalised vectors (mean 0, variance 1 in each channel, as the prior generates them): the mean
    cosine to the views of the caption's asset and to all others, and how often the nearest view belongs to this asset.
    Assets with the same caption are indistinguishable.
    """
    ours = settings.prior
    _, label = load_run(model, PriorStage)
    warn_if_untrained(label, model.parent)
    prior = load_prior(model, best_device(settings.device))
    arithmetic = arithmetic_of(settings, prior.generator.device)
    prior = replace(prior, generator=prior.generator.computed(arithmetic).with_steps(ours.steps))
    root = data_root(settings.data_root, label["config"], model)
    truth = Truth.of(root, prior, settings.split, settings.limit)
    vectors = generated_vectors(prior, truth.metas, ours.seeds, ours.guidance)  # (G, F)
    cosines = truth.views.cosines(vectors)  # (G, R)
    report = {
        **figures(truth, cosines),
        "run": str(model.parent),
        "fingerprint": label["fingerprint"],
        "data": str(root),
        "split": settings.split,
        **arithmetic.facts(),
        "measured_with": asdict(ours),
    }
    folder = model.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    column = column_of(truth, cosines)
    note = f"{quantity(len(truth.metas), 'asset')} × {quantity(len(ours.seeds), 'seed')}; {INTERVALS} assets"
    tables = [table_of("All embeddings", note, [column])]
    report["intervals"] = column.plain
    write_report(
        folder / "prior.json", report, "Embeddings", tables, {"prior.png": lambda: truth.sheet(cosines, root, ours)}
    )
    print_figures(report)
    result(f"{folder}/prior.json, .html and .png")
    return folder / "prior.json"


def generated_vectors(
    prior: ImagePrior, metas: Sequence[Mapping[str, Any]], seeds: Sequence[int], scale: float
) -> NDArray[np.float32]:
    """Normalised vectors (G, F) for the first caption of every asset, seed by seed; no two have the same noise."""
    labels = {"caption": [first_caption(meta) for meta in metas], "class": [meta["class"] for meta in metas]}
    batch = {key: values for key, values in labels.items() if key in prior.generator.keys}
    parts = []
    for number, seed in enumerate(seeds):
        noises = [len(metas) * seed + place for place in range(len(metas))]
        parts.append(prior.generator(batch, noises, scale)[:, 0].float().cpu().numpy())
        status(f"seed {number + 1}/{len(seeds)}")
    status("")
    return np.concatenate(parts)


def figures(truth: Truth, cosines: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """The figures of cosines (G, R) between generated vectors, asset by asset for each seed, and the views."""
    assets = len(truth.metas)
    own_asset = np.tile(np.arange(assets), len(cosines) // assets)  # (G,)
    own, others = own_and_others(truth.views.mean(cosines), own_asset)
    best = truth.views.best(cosines)
    return {
        "cosine": {"own": own, "others": others, "between_views_of_one_asset": truth.views.between_views()},
        "retrieval": {
            f"top_{count}": {"share": top_share(best, own_asset, count), "chance": min(1.0, count / assets)}
            for count in (1, 5)
        },
        "assets": assets,
        "distinct_captions": len({first_caption(meta) for meta in truth.metas}),
    }


def column_of(truth: Truth, cosines: NDArray[np.floating[Any]]) -> Column:
    """The figures of each of the G embeddings; those of an asset are a group."""
    assets = len(truth.metas)
    own_asset = np.tile(np.arange(assets), len(cosines) // assets)  # (G,)
    mean, best = truth.views.mean(cosines), truth.views.best(cosines)  # (G, N) each
    rows = np.arange(len(cosines))
    own = mean[rows, own_asset]
    better = (best >= best[rows, own_asset][:, None]).sum(axis=1)  # ties count as misses, as in `top_share`
    values = {
        "own_cosine": own,
        "other_cosine": (mean.sum(axis=1) - own) / (assets - 1),
        "top_1": (better <= 1).astype(np.float64),
        "top_5": (better <= 5).astype(np.float64),
    }
    return Column("the prior", values, own_asset)


def print_figures(report: Mapping[str, Any]) -> None:
    """Prints cosines and retrieval, one line each."""
    own, others = report["cosine"]["own"], report["cosine"]["others"]
    assets = report["assets"]
    result(f"cosine to the views of the asset meant {own:.3f}, to those of others {others:.3f} ({assets} assets)")
    for name, top in report["retrieval"].items():
        result(f"the asset meant is in the {name.replace('_', ' ')}: {top['share']:.1%}, by chance {top['chance']:.1%}")


@dataclass(frozen=True)
class Truth:
    """The assets of a split: their metadata, keys, and normalised vectors of their views, whose numbers are `rows`."""

    metas: list[dict[str, Any]]
    keys: list[str]
    rows: list[list[int]]
    views: Views

    @classmethod
    def of(cls, root: Any, prior: ImagePrior, split: str, limit: int | None) -> Truth:
        """The stored vectors beside the data. UserError where they come from another encoder than the prior's."""
        folder = embedding_folder(root, prior.source)
        changed = differences(read_embeddings(folder).extra["fingerprint"], prior.encoder)
        if changed:
            raise UserError(
                f"{folder} was made by another encoder than what the prior learned from ({'; '.join(changed)}): give "
                "the data that it was trained on, data_root="
            )
        mean, std = prior.space.mean.cpu().numpy(), prior.space.std.cpu().numpy()  # (F,) each
        metas: list[dict[str, Any]] = []
        keys, vectors = [], []
        for sample in samples_of(folder, split):
            if limit is None or len(metas) < limit:
                metas.append(sample["meta.json"])
                keys.append(sample.key)
                vectors.append((sample["vector.npy"].astype(np.float32) - mean) / std)  # (V, F)
        if len(metas) < 2:
            raise UserError(
                f"{folder} has {quantity(len(metas), 'asset')} in split={split}: two at least are needed to compare"
            )
        return cls(metas, keys, [meta["rows"] for meta in metas], Views(vectors))

    def sheet(self, cosines: np.ndarray, root: Any, settings: PriorSettings) -> Image.Image:
        """A row for each of some prompts: a view of the target asset, and the view nearest to each seed's embedding."""
        shards, rows, labels = KeyedShards(root), [], []
        for asset in spread(len(self.metas), settings.pictures):
            nearest = [int(row) for row in cosines[asset :: len(self.metas)].argmax(axis=1)]  # one for each seed
            places = [(asset, 0), *(self.views.place(row) for row in nearest)]
            rows.append([self._picture(shards, *place) for place in places])
            names = dict.fromkeys(self.metas[near]["name"] for near, _ in places[1:])
            labels.append(f"{first_caption(self.metas[asset])}\nnearest: {', '.join(names)}")
        heads = ["the asset meant", *(f"nearest view\nseed {seed}" for seed in settings.seeds)]
        return picture_sheet(rows, labels, heads, cell=settings.picture_size)

    def _picture(self, shards: KeyedShards, asset: int, view: int) -> Image.Image:
        stored = shards.read(self.keys[asset])
        return Image.fromarray(np.asarray(stored[f"view_{self.rows[asset][view]:03d}.png"]))
