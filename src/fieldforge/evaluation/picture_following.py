"""Do generated shapes follow their pictures? Icons of training assets by another renderer, views of held-out assets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.image import ImageSource
from fieldforge.conditioning.stored import embedding_folder, read_embeddings, samples_of
from fieldforge.data.heldout import HeldOut
from fieldforge.data.manifest import MANIFEST_NAME
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.errors import UserError
from fieldforge.generation import Generator
from fieldforge.metrics.retrieval import Views, top_share
from fieldforge.rendering.pictures import write_picture, write_whole
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import conditions
from fieldforge.terminal import printable, status
from fieldforge.training.processes.side_files import side_file


def evaluate_images(
    generator: Generator,
    autoencoder: Autoencoder,
    domain: Domain,
    root: str,
    training: tuple[list[dict[str, Any]], list[np.ndarray]],
    settings: dict[str, Any],
    about: dict[str, Any],
    folder: Path,
) -> Path:
    """Writes `images.json`, `icons.png` and `views.png` into `folder`; returns the first.

    Args:
        generator, autoencoder, domain: of the run.
        root: its sample shards.
        training: metadata and signatures of the training samples.
        settings: the block `images` of the configuration.
        about: what the report says of the run.
        folder: for the files.
    """
    open_shards(root, "heldout")  # where there is none, nothing is measured in vain
    judge = PictureJudge(generator, autoencoder, domain, settings)
    report = dict(about) | {"measured_with": settings}
    sheets: dict[str, Callable[[], Image.Image]] = {}
    if settings["libraries"]:
        report["icons"], sheets["icons.png"] = judge.of_icons(root, *training)
    report["views"], sheets["views.png"] = judge.of_views(root)
    status("")
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / "images.json")
    for name, sheet in sheets.items():
        with side_file(folder / name):
            write_picture(sheet(), folder / name)
    if "icons" in report:
        found = report["icons"]
        print(
            f"nearest training shape is the asset whose icon is given: {found['share']:.1%} of {found['shapes']}, "
            f"by chance {found['chance']:.2%}"
        )
        print(f"  of the same assets' own reconstructions it is for {found['reconstructed']:.1%}")
        for source, share in found["nearest_view"].items():
            print(f"  by {source} alone, the nearest view of all is one of that asset for {share:.1%}")
    found = report["views"]
    print(
        f"distance to the held-out asset whose view is given: {found['conditional']:.4f}, unconditional "
        f"{found['unconditional']:.4f}: {found['reduction']:.1%} lower, mean of {found['shapes']}"
    )
    print(printable(str(folder / "images.json")))
    return folder / "images.json"


class PictureJudge:
    """Generates from pictures, and compares with what they are pictures of."""

    def __init__(
        self, generator: Generator, autoencoder: Autoencoder, domain: Domain, settings: dict[str, Any]
    ) -> None:
        if settings["steps"]:
            generator = replace(generator, sampler=replace(generator.sampler, steps=settings["steps"]))
        self.generator, self.autoencoder, self.domain, self.settings = generator, autoencoder, domain, settings
        self.size = settings["picture_size"]

    def of_icons(
        self, root: str, metas: list[dict[str, Any]], clouds: list[np.ndarray]
    ) -> tuple[dict[str, Any], Callable[[], Image.Image]]:
        """How often the nearest training shape is the asset whose icon was given, beside two yardsticks for it.

        They are how often the same is true of the autoencoder's own reconstructions, and what the features tell alone.
        """
        icons = self.domain.further_pictures(Path(self.settings["libraries"]))
        known = [number for number, meta in enumerate(metas) if meta["id"] in icons]
        if not known:
            raise UserError(f"images.libraries={self.settings['libraries']}: no icon there is of a training asset")
        chosen = [known[place] for place in spread(len(known), self.settings["icons"])]
        pictures = [icons[metas[number]["id"]] for number in chosen]
        made = self.made(pictures, self.settings["guidance"], "icons")
        nearest = self.domain.nearest(self.signatures(made), clouds)
        met = [int(found) == number for found, number in zip(nearest, chosen, strict=True)]
        figures: dict[str, Any] = {
            "share": float(np.mean(met)),
            "chance": 1 / len(clouds),
            "shapes": len(chosen),
            "reconstructed": self.reconstructed(root, [metas[number]["id"] for number in chosen], metas, clouds),
            "nearest_view": self.nearest_view(root, pictures, [metas[number]["id"] for number in chosen]),
        }
        told = [f"{metas[number]['name']}\nnearest: {metas[found]['name']}" for number, found in
                zip(chosen, nearest, strict=True)]  # fmt: skip
        return figures, lambda: self.sheet(pictures, [made], told, ["icon", "generated"])

    def reconstructed(self, root: str, ids: list[str], metas: list[dict[str, Any]], clouds: list[np.ndarray]) -> float:
        """How often the nearest training shape to an asset's reconstruction is that asset."""
        wanted, places = set(ids), {meta["id"]: number for number, meta in enumerate(metas)}
        meant: list[int] = []
        made: list[Outputs] = []
        transforms: list[Transform] = [*self.domain.input_transforms(), Meta()]
        for batch in HeldOut(open_shards(root, "train"), transforms, seed=0, batch_size=16):
            rows = [row for row, meta in enumerate(batch["meta"]) if meta["id"] in wanted]
            if not rows:
                continue
            rebuilt = self.domain.reconstruct(self.autoencoder, batch["input"][rows], self.settings["resolution"])
            made += [rebuilt[index] for index in range(len(rows))]
            meant += [places[batch["meta"][row]["id"]] for row in rows]
            status(f"reconstructions: {len(made)}/{len(ids)}")
        return float(np.mean(self.domain.nearest(self.signatures(made), clouds) == meant))

    def nearest_view(self, root: str, pictures: Sequence[np.ndarray], ids: list[str]) -> dict[str, float]:
        """Image source → how often the stored vector nearest to a picture's is of a view of its asset."""
        shares = {}
        for name in self.generator.conditioner.names:
            source, folder = self.generator.conditioner.source(name), embedding_folder(root, name)
            if not isinstance(source, ImageSource) or not (folder / MANIFEST_NAME).is_file():
                continue
            stored = list(samples_of(folder, "train"))
            asked = self.generator.conditioner.embed({"image": list(pictures)}, [name])[name].vector
            if asked is None or "vector.npy" not in stored[0]:
                continue
            self.generator.conditioner.check_made_by(name, read_embeddings(folder).extra["fingerprint"])
            vectors = [sample["vector.npy"].astype(np.float32) for sample in stored]  # (E, F) each
            mean, std = np.mean(np.concatenate(vectors), 0), np.std(np.concatenate(vectors), 0).clip(1e-4)  # (F,) each
            views = Views([(each - mean) / std for each in vectors])
            order = [sample["meta.json"]["id"] for sample in stored]
            cosines = views.cosines((asked.float().cpu().numpy() - mean) / std)  # (G, R)
            shares[name] = top_share(views.best(cosines), np.array([order.index(one) for one in ids]), 1)
        return shares

    def of_views(self, root: str) -> tuple[dict[str, Any], Callable[[], Image.Image]]:
        """Mean distance to held-out samples, from one of their views and without any condition."""
        shards, inputs = open_shards(root, "heldout"), self.domain.input_transforms()
        asked = conditions(self.domain, shards, {"image"}, self.settings["heldout"], inputs)
        truths = self.domain.stored_signatures(asked)
        made = {
            scale: self.made(asked["image"], scale, f"views, guidance {scale:g}")
            for scale in (self.settings["guidance"], 0.0)
        }
        conditional, unconditional = (
            float(np.mean([self.domain.distance(*pair) for pair in zip(self.signatures(outputs), truths, strict=True)]))
            for outputs in made.values()
        )
        figures = {
            "conditional": conditional,
            "unconditional": unconditional,
            "reduction": 1 - conditional / unconditional,
            "shapes": len(truths),
        }
        names = [meta["name"] for meta in asked["meta"]]
        heads = ["view", "generated", "unconditional"]
        return figures, lambda: self.sheet(asked["image"], list(made.values()), names, heads)

    def made(self, pictures: Sequence[np.ndarray], scale: float, what: str) -> list[Outputs]:
        """An output for each picture, seeds 0, 1, …"""
        outputs: list[Outputs] = []
        for start in range(0, len(pictures), self.settings["batch_size"]):
            part = list(pictures[start : start + self.settings["batch_size"]])
            latents = self.generator({"image": part}, list(range(start, start + len(part))), scale)  # (B, T, C)
            decoded = self.domain.decode(self.autoencoder, latents, self.settings["resolution"])
            outputs += [decoded[index] for index in range(len(part))]
            status(f"{what}: {len(outputs)}/{len(pictures)}")
        return outputs

    def signatures(self, outputs: Sequence[Outputs]) -> list[np.ndarray]:
        return [signature for output in outputs for signature in self.domain.signatures(output)]

    def sheet(
        self,
        pictures: Sequence[np.ndarray],
        columns: Sequence[Sequence[Outputs]],
        labels: list[str],
        heads: list[str],
    ) -> Image.Image:
        """Some of the pictures, each with the outputs of its row."""
        shown = spread(len(pictures), self.settings["pictures"])
        rows = [
            [Image.fromarray(pictures[row]), *(outputs[row].picture(self.size) for outputs in columns)] for row in shown
        ]
        return picture_sheet(rows, [labels[row] for row in shown], heads, cell=self.size)


def spread(count: int, wanted: int | None) -> list[int]:
    """At most `wanted` of the numbers below `count`, evenly spread."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, count if wanted is None else wanted)).round()]
