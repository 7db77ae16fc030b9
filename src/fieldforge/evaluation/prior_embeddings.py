"""Does a prior give the embeddings that belong to its prompts? Held-out captions against held-out pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from PIL import Image

from fieldforge.conditioning.stored import KeyedShards, embedding_folder, read_embeddings, samples_of
from fieldforge.configuration.stored import data_root, load_run
from fieldforge.errors import UserError
from fieldforge.evaluation.picture_following import spread
from fieldforge.generation import ImagePrior
from fieldforge.metrics.retrieval import Views, own_and_others, top_share
from fieldforge.rendering.pictures import write_picture, write_whole
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import first_caption
from fieldforge.stages.fingerprint import differences
from fieldforge.stages.prior_stage import PriorStage, load_prior
from fieldforge.stages.training_run import plain
from fieldforge.terminal import printable, status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.side_files import side_file


def evaluate_prior(model: Path, config: DictConfig) -> Path:
    """Embeddings for the caption of every asset of a split; writes `evaluation/prior.json` and `.png` beside the model.

    Two figures, both in the space of normalised vectors (mean 0, variance 1 in each channel, as the prior generates
    them): the mean cosine to the views of the asset meant, beside that to all others; and how often the nearest view is
    one of the asset meant. Assets that share a caption cannot be told apart by it.
    """
    settings = plain(config.prior)
    _, label = load_run(model, PriorStage)
    prior = load_prior(model, best_device(config.device))
    if settings["steps"]:
        sampler = replace(prior.generator.sampler, steps=settings["steps"])
        prior = replace(prior, generator=replace(prior.generator, sampler=sampler))
    root = data_root(config, label["config"], model)
    truth = Truth.of(root, prior, config.split, config.limit)
    generated = sampled(prior, truth.metas, settings["seeds"], settings["guidance"])  # (G, F)
    meant = np.tile(np.arange(len(truth.metas)), len(settings["seeds"]))  # (G,)
    cosines = truth.views.cosines(generated)  # (G, R)
    own, others = own_and_others(truth.views.mean(cosines), meant)
    best, assets = truth.views.best(cosines), len(truth.metas)
    report = {
        "cosine": {"own": own, "others": others, "between_views_of_one_asset": truth.views.between_views()},
        "retrieval": {
            f"top_{count}": {"share": top_share(best, meant, count), "chance": min(1.0, count / assets)}
            for count in (1, 5)
        },
        "assets": assets,
        "distinct_captions": len({first_caption(meta) for meta in truth.metas}),
        "run": str(model.parent),
        "fingerprint": label["fingerprint"],
        "data": str(root),
        "split": config.split,
        "measured_with": settings,
    }
    folder = model.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / "prior.json")
    with side_file(folder / "prior.png"):
        write_picture(truth.sheet(cosines, root, settings), folder / "prior.png")
    print(f"cosine to the views of the asset meant {own:.3f}, to those of others {others:.3f} ({assets} assets)")
    for name, found in report["retrieval"].items():
        print(
            f"the asset meant is in the {name.replace('_', ' ')}: {found['share']:.1%}, by chance {found['chance']:.1%}"
        )
    print(printable(f"{folder}/prior.json and .png"))
    return folder / "prior.json"


def sampled(prior: ImagePrior, metas: list[dict[str, Any]], seeds: list[int], scale: float) -> np.ndarray:
    """Normalised vectors (G, F) for the first caption of every asset, seed by seed; no two have the same noise."""
    batch = {"caption": [first_caption(meta) for meta in metas], "class": [meta["class"] for meta in metas]}
    asked = {key: values for key, values in batch.items() if key in prior.generator.keys}
    parts = []
    for number, seed in enumerate(seeds):
        noises = [len(metas) * seed + place for place in range(len(metas))]
        parts.append(prior.generator(asked, noises, scale)[:, 0].float().cpu().numpy())
        status(f"seed {number + 1}/{len(seeds)}")
    status("")
    return np.concatenate(parts)


@dataclass(frozen=True)
class Truth:
    """The assets of a split: their metadata, keys, and normalised vectors of their views, whose numbers are `rows`."""

    metas: list[dict[str, Any]]
    keys: list[str]
    rows: list[list[int]]
    views: Views

    @classmethod
    def of(cls, root: str, prior: ImagePrior, split: str, limit: int | None) -> Truth:
        """As stored beside the data. UserError where that was made by another encoder than the prior's."""
        folder = embedding_folder(root, prior.source)
        changed = differences(read_embeddings(folder).extra["fingerprint"], prior.made_by)
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
            raise UserError(f"{folder} has {len(metas)} assets in split={split}: two at least are needed to compare")
        return cls(metas, keys, [meta["rows"] for meta in metas], Views(vectors))

    def sheet(self, cosines: np.ndarray, root: str, settings: dict[str, Any]) -> Image.Image:
        """A row for each of some prompts: a view of the asset meant, and the view nearest to each seed's embedding."""
        shards, rows, labels = KeyedShards(root), [], []
        for asset in spread(len(self.metas), settings["pictures"]):
            found = [int(row) for row in cosines[asset :: len(self.metas)].argmax(axis=1)]  # one for each seed
            places = [(asset, 0), *(self.views.place(row) for row in found)]
            rows.append([self._picture(shards, *place) for place in places])
            names = dict.fromkeys(self.metas[near]["name"] for near, _ in places[1:])
            labels.append(f"{first_caption(self.metas[asset])}\nnearest: {', '.join(names)}")
        heads = ["the asset meant", *(f"nearest view\nseed {seed}" for seed in settings["seeds"])]
        return picture_sheet(rows, labels, heads, cell=settings["picture_size"])

    def _picture(self, shards: KeyedShards, asset: int, view: int) -> Image.Image:
        stored = shards.read(self.keys[asset])
        return Image.fromarray(np.asarray(stored[f"view_{self.rows[asset][view]:03d}.png"]))
