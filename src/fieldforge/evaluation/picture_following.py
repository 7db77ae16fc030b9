"""Picture agreement of generated samples: icons of training samples by another renderer, views of held-out samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.image_source import ImageSource
from fieldforge.conditioning.stored import embedding_folder, has_embeddings, read_embeddings, samples_of
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.errors import UserError
from fieldforge.evaluation.evaluation_report import INTERVALS, Column, Sheet, table_of, write_report
from fieldforge.evaluation.settings import ImageSettings
from fieldforge.generation import Generator
from fieldforge.metrics.retrieval import Views, top_share
from fieldforge.rendering.report_page import Table
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import conditions
from fieldforge.terminal import quantity, result, status


def evaluate_images(
    generator: Generator,
    autoencoder: Autoencoder,
    domain: Domain,
    root: Any,
    training: tuple[list[dict[str, Any]], list[np.ndarray]],
    settings: ImageSettings,
    about: Mapping[str, Any],
    folder: Path,
) -> Path:
    """Writes `images.json`, `images.html`, `icons.png` and `views.png` into `folder`; returns the path of the first.

    Args:
        generator, autoencoder, domain: of the run.
        root: its sample shards.
        training: metadata and signatures of the training samples.
        settings: the block `images` of the configuration.
        about: facts about the run for the report.
        folder: for the files.
    """
    open_shards(root, "heldout")  # where there is none, nothing is measured in vain
    judge = PictureJudge(generator, autoencoder, domain, settings)
    report = {**about, "measured_with": asdict(settings)}
    sheets: dict[str, Sheet] = {}
    tables: list[Table] = []
    if settings.libraries is not None:
        report["icons"], sheets["icons.png"], table = judge.of_icons(Path(settings.libraries), root, *training)
        tables.append(table)
    report["views"], sheets["views.png"], table = judge.of_views(root)
    status("")
    write_report(folder / "images.json", report, "Pictures", [*tables, table], sheets)
    print_figures(report, domain.noun)
    result(f"{folder}/images.json, .html, {' and '.join(sheets)}")
    return folder / "images.json"


def print_figures(report: Mapping[str, Any], noun: str) -> None:
    """Prints the figures of icons, if there are any, and of views; `noun`: of the domain."""
    if "icons" in report:
        icons = report["icons"]
        result(
            f"nearest training {noun} is the one whose icon is given: {icons['share']:.1%} of {icons['samples']}, "
            f"by chance {icons['chance']:.2%}"
        )
        result(f"  of the same ones' own reconstructions it is for {icons['reconstructed']:.1%}")
        for source, share in icons["nearest_view"].items():
            result(f"  by {source} alone, the nearest view of all is one of that {noun} for {share:.1%}")
    views = report["views"]
    less = "lower" if views["reduction"] >= 0 else "higher"
    result(
        f"distance to the held-out {noun} whose view is given: {views['conditional']:.4f}, unconditional "
        f"{views['unconditional']:.4f}: {abs(views['reduction']):.1%} {less}, mean of {views['samples']}"
    )


class PictureJudge:
    """Generates from pictures, and compares the outputs with the depicted samples."""

    def __init__(self, generator: Generator, autoencoder: Autoencoder, domain: Domain, settings: ImageSettings) -> None:
        self.generator = generator.with_steps(settings.steps)
        self.autoencoder, self.domain, self.settings = autoencoder, domain, settings
        self.size = settings.picture_size

    def of_icons(
        self, libraries: Path, root: Any, metas: list[dict[str, Any]], signatures: list[np.ndarray]
    ) -> tuple[dict[str, Any], Sheet, Table]:
        """How often the nearest training sample is the one of the icon, with two reference values.

        They are the same share for the autoencoder's reconstructions, and that of a search by features alone.

        Raises:
            UserError: no icon in `libraries` is of a training sample.
        """
        icons = self.domain.further_pictures(libraries)
        candidates = [row for row, meta in enumerate(metas) if meta["id"] in icons]
        if not candidates:
            raise UserError(f"images.libraries={libraries}: no icon there is of a training {self.domain.noun}")
        rows = [candidates[place] for place in spread(len(candidates), self.settings.icons)]
        ids = [metas[row]["id"] for row in rows]
        pictures = [icons[one] for one in ids]
        outputs = self.outputs(pictures, self.settings.guidance, "icons")
        nearest = self.domain.nearest(self.signatures(outputs), signatures)
        hits = Column("by icons", {"icon": (nearest == np.array(rows)).astype(np.float64)})
        figures: dict[str, Any] = {
            "share": float(hits.values["icon"].mean()),
            "intervals": hits.plain,
            "chance": 1 / len(signatures),
            "samples": len(rows),
            "reconstructed": self.reconstruction_share(root, ids, metas, signatures),
            "nearest_view": self.nearest_view(root, pictures, ids),
        }
        labels = [
            f"{metas[row]['name']}\nnearest: {metas[near]['name']}" for row, near in zip(rows, nearest, strict=True)
        ]
        note = f"by chance {figures['chance']:.2%}, of their reconstructions {figures['reconstructed']:.1%}"
        table = table_of("Icons", f"{quantity(len(rows), 'icon')}; {note}; {INTERVALS} them", [hits])
        return figures, lambda: self.sheet(pictures, [outputs], labels, ["icon", "generated"]), table

    def reconstruction_share(
        self, root: Any, ids: list[str], metas: list[dict[str, Any]], signatures: list[np.ndarray]
    ) -> float:
        """How often the training sample nearest to the reconstruction of one of `ids` is this sample."""
        rows = {meta["id"]: row for row, meta in enumerate(metas)}
        own: list[int] = []
        outputs: list[Outputs] = []
        transforms: list[Transform] = [*self.domain.input_transforms(), Meta()]
        for batch in HeldOut(open_shards(root, "train"), transforms, seed=0, batch_size=16):
            places = [place for place, meta in enumerate(batch["meta"]) if meta["id"] in ids]
            if not places:
                continue
            chosen = {name: batch[name][places] for name in self.autoencoder.reads}
            rebuilt = self.domain.reconstruct(self.autoencoder, chosen, self.settings.resolution)
            outputs += [rebuilt[index] for index in range(len(places))]
            own += [rows[batch["meta"][place]["id"]] for place in places]
            status(f"reconstructions: {len(outputs)}/{len(ids)}")
        return float(np.mean(self.domain.nearest(self.signatures(outputs), signatures) == own))

    def nearest_view(self, root: Any, pictures: Sequence[np.ndarray], ids: list[str]) -> dict[str, float]:
        """Image source → how often the stored vector nearest to a picture's vector belongs to a view of its sample."""
        shares = {}
        for name in self.generator.conditioner.names:
            source, folder = self.generator.conditioner.source(name), embedding_folder(root, name)
            if not isinstance(source, ImageSource) or not has_embeddings(root, name):
                continue
            stored = list(samples_of(folder, "train"))
            queries = self.generator.conditioner.embed({"image": list(pictures)}, [name])[name].vector  # (G, F)
            if queries is None or "vector.npy" not in stored[0]:
                continue
            self.generator.conditioner.check_encoder(name, read_embeddings(folder).extra["fingerprint"])
            vectors = [sample["vector.npy"].astype(np.float32) for sample in stored]  # (E, F) each
            mean, std = np.mean(np.concatenate(vectors), 0), np.std(np.concatenate(vectors), 0).clip(1e-4)  # (F,) each
            views = Views([(each - mean) / std for each in vectors])
            order = [sample["meta.json"]["id"] for sample in stored]
            cosines = views.cosines((queries.float().cpu().numpy() - mean) / std)  # (G, R)
            shares[name] = top_share(views.best(cosines), np.array([order.index(one) for one in ids]), 1)
        return shares

    def of_views(self, root: Any) -> tuple[dict[str, Any], Sheet, Table]:
        """Mean distance to held-out samples, with one of their views as the condition, and unconditionally."""
        shards, inputs = open_shards(root, "heldout"), self.domain.input_transforms()
        samples = conditions(self.domain, shards, {"image"}, self.settings.heldout, inputs)
        truths = self.domain.stored_signatures(samples)
        outputs = {
            scale: self.outputs(samples["image"], scale, f"views, guidance {scale:g}")
            for scale in (self.settings.guidance, 0.0)
        }
        ways = dict(zip(("conditional", "unconditional"), outputs.values(), strict=True))
        columns = [Column(way, {"view_distance": self.distances(column, truths)}) for way, column in ways.items()]
        conditional, unconditional = (float(column.values["view_distance"].mean()) for column in columns)
        figures = {
            "conditional": conditional,
            "unconditional": unconditional,
            "reduction": 1 - conditional / unconditional,
            "intervals": {column.title: column.plain for column in columns},
            "samples": len(truths),
        }
        names = [meta["name"] for meta in samples["meta"]]
        heads = ["view", "generated", "unconditional"]
        note = f"{quantity(len(truths), 'held-out sample')}, each by one view; {INTERVALS} them"
        table = table_of("Views", note, columns)
        return figures, lambda: self.sheet(samples["image"], list(outputs.values()), names, heads), table

    def distances(self, outputs: Sequence[Outputs], truths: Sequence[np.ndarray]) -> np.ndarray:
        """Distance (N,) of each output to its truth, N signatures."""
        return np.array([self.domain.distance(*pair) for pair in zip(self.signatures(outputs), truths, strict=True)])

    def outputs(self, pictures: Sequence[np.ndarray], scale: float, what: str) -> list[Outputs]:
        """An output for each picture, seeds 0, 1, …"""
        outputs: list[Outputs] = []
        for start in range(0, len(pictures), self.settings.batch_size):
            part = list(pictures[start : start + self.settings.batch_size])
            latents = self.generator({"image": part}, list(range(start, start + len(part))), scale)  # (B, T, C)
            decoded = self.domain.decode(self.autoencoder, latents, self.settings.resolution)
            outputs += [decoded[index] for index in range(len(part))]
            status(f"{what}: {len(outputs)}/{len(pictures)}")
        return outputs

    def signatures(self, outputs: Sequence[Outputs]) -> list[np.ndarray]:
        """Signature of each output."""
        return [signature for output in outputs for signature in self.domain.signatures(output)]

    def sheet(
        self,
        pictures: Sequence[np.ndarray],
        columns: Sequence[Sequence[Outputs]],
        labels: list[str],
        heads: list[str],
    ) -> Image.Image:
        """Some of the pictures, each with the outputs of its row."""
        places = spread(len(pictures), self.settings.pictures)
        rows = [
            [Image.fromarray(pictures[row]), *(outputs[row].picture(self.size) for outputs in columns)]
            for row in places
        ]
        return picture_sheet(rows, [labels[row] for row in places], heads, cell=self.size)


def spread(count: int, most: int | None) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spaced; None: all."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, count if most is None else most)).round()]
