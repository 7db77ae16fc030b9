"""Do generated shapes follow their pictures? Icons of training assets by another renderer, views of held-out assets."""

from __future__ import annotations

import io
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
from fieldforge.data.transforms import Meta, Surface
from fieldforge.errors import UserError
from fieldforge.generation import Sampler, decode, reconstruct
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.metrics.clouds import chamfer_matrix
from fieldforge.metrics.prompts import nearest_shapes
from fieldforge.metrics.reconstruction import BOX_DIAGONAL, Floats, surface_points
from fieldforge.metrics.retrieval import Views, top_share
from fieldforge.preparation.sh3f import read_icons
from fieldforge.rendering.pictures import write_picture, write_whole
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import conditions
from fieldforge.terminal import status
from fieldforge.training.processes.side_files import side_file


def evaluate_images(
    sampler: Sampler,
    autoencoder: Autoencoder,
    root: str,
    training: tuple[list[dict[str, Any]], list[np.ndarray]],
    settings: dict[str, Any],
    about: dict[str, Any],
    folder: Path,
) -> Path:
    """Writes `images.json`, `icons.png` and `views.png` into `folder`; returns the first.

    Args:
        sampler, autoencoder: of the run.
        root: its sample shards.
        training: metadata and clouds (N, 3) of the training assets.
        settings: the block `images` of the configuration.
        about: what the report says of the run.
        folder: for the files.
    """
    open_shards(root, "heldout")  # where there is none, nothing is measured in vain
    maker = _Maker(sampler, autoencoder, settings)
    report = dict(about) | {"measured_with": settings}
    sheets: dict[str, Callable[[], Image.Image]] = {}
    if settings["libraries"]:
        report["icons"], sheets["icons.png"] = maker.of_icons(root, *training)
    report["views"], sheets["views.png"] = maker.of_views(root)
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
        f"Chamfer L1 to the held-out asset whose view is given: {found['conditional']:.4f}, unconditional "
        f"{found['unconditional']:.4f}: {found['reduction']:.1%} lower, mean of {found['shapes']}"
    )
    print(folder / "images.json")
    return folder / "images.json"


ENCODED_POINTS = 4096


class _Maker:
    def __init__(self, sampler: Sampler, autoencoder: Autoencoder, settings: dict[str, Any]) -> None:
        if settings["steps"]:
            sampler = replace(sampler, sampling=replace(sampler.sampling, steps=settings["steps"]))
        self.sampler, self.autoencoder, self.settings = sampler, autoencoder, settings
        self.size = settings["picture_size"]

    def of_icons(
        self, root: str, metas: list[dict[str, Any]], clouds: list[np.ndarray]
    ) -> tuple[dict[str, Any], Callable[[], Image.Image]]:
        """How often the nearest training shape is the asset whose icon was given, beside two yardsticks for it.

        They are how often the same is true of the autoencoder's own reconstructions, and what the features tell alone.
        """
        icons = icons_of(Path(self.settings["libraries"]))
        known = [number for number, meta in enumerate(metas) if meta["id"] in icons]
        if not known:
            raise UserError(f"images.libraries={self.settings['libraries']}: no icon there is of a training asset")
        chosen = [known[place] for place in spread(len(known), self.settings["icons"])]
        pictures = [picture_of(icons[metas[number]["id"]]) for number in chosen]
        made = self.made(pictures, self.settings["guidance"], "icons")
        nearest = nearest_shapes(self.clouds_of(made), clouds)
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
        meant, made = [], []
        for batch in HeldOut(open_shards(root, "train"), [Surface(ENCODED_POINTS), Meta()], seed=0, batch_size=16):
            rows = [row for row, meta in enumerate(batch["meta"]) if meta["id"] in wanted]
            if not rows:
                continue
            shapes = reconstruct(self.autoencoder, batch["input"][rows].to(self.autoencoder.latent_mean.device))
            made += [shapes.mesh(index, self.settings["mesh_resolution"]) for index in range(len(rows))]
            meant += [places[batch["meta"][row]["id"]] for row in rows]
            status(f"reconstructions: {len(made)}/{len(ids)}")
        return float(np.mean(nearest_shapes(self.clouds_of(made), clouds) == meant))

    def nearest_view(self, root: str, pictures: Sequence[np.ndarray], ids: list[str]) -> dict[str, float]:
        """Image source → how often the stored vector nearest to a picture's is of a view of its asset."""
        shares = {}
        for name in self.sampler.conditioner.names:
            source, folder = self.sampler.conditioner.source(name), embedding_folder(root, name)
            if not isinstance(source, ImageSource) or not (folder / MANIFEST_NAME).is_file():
                continue
            stored = list(samples_of(folder, "train"))
            asked = self.sampler.conditioner.embed({"image": list(pictures)}, [name])[name].vector
            if asked is None or "vector.npy" not in stored[0]:
                continue
            self.sampler.conditioner.check_made_by(name, read_embeddings(folder).extra["fingerprint"])
            vectors = [sample["vector.npy"].astype(np.float32) for sample in stored]  # (E, F) each
            mean, std = np.mean(np.concatenate(vectors), 0), np.std(np.concatenate(vectors), 0).clip(1e-4)  # (F,) each
            views = Views([(each - mean) / std for each in vectors])
            order = [sample["meta.json"]["id"] for sample in stored]
            cosines = views.cosines((asked.float().cpu().numpy() - mean) / std)  # (G, R)
            shares[name] = top_share(views.best(cosines), np.array([order.index(one) for one in ids]), 1)
        return shares

    def of_views(self, root: str) -> tuple[dict[str, Any], Callable[[], Image.Image]]:
        """Mean Chamfer distance to held-out assets, from one of their views and without any condition."""
        points = Surface(self.settings["cloud_points"])
        asked = conditions(open_shards(root, "heldout"), {"image"}, self.settings["heldout"], [points])
        truths = list(asked["input"][..., :3].numpy())
        made = {
            scale: self.made(asked["image"], scale, f"views, guidance {scale:g}")
            for scale in (self.settings["guidance"], 0.0)
        }
        conditional, unconditional = (
            float(np.mean([chamfer(*pair) for pair in zip(self.clouds_of(meshes), truths, strict=True)]))
            for meshes in made.values()
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

    def made(self, pictures: Sequence[np.ndarray], scale: float, what: str) -> list[ColoredMesh]:
        """A mesh of each picture, seeds 0, 1, …"""
        meshes: list[ColoredMesh] = []
        for start in range(0, len(pictures), self.settings["batch_size"]):
            part = list(pictures[start : start + self.settings["batch_size"]])
            latents = self.sampler({"image": part}, list(range(start, start + len(part))), scale)  # (B, T, C)
            shapes = decode(self.autoencoder, latents)
            meshes += [shapes.mesh(index, self.settings["mesh_resolution"]) for index in range(len(part))]
            status(f"{what}: {len(meshes)}/{len(pictures)}")
        return meshes

    def clouds_of(self, meshes: Sequence[ColoredMesh]) -> list[Floats]:
        rng = np.random.default_rng(0)
        return [surface_points(mesh, self.settings["cloud_points"], rng)[0] for mesh in meshes]

    def sheet(
        self,
        pictures: Sequence[np.ndarray],
        columns: Sequence[Sequence[ColoredMesh]],
        labels: list[str],
        heads: list[str],
    ) -> Image.Image:
        """Some of the pictures, each with the meshes of its row."""
        shown = spread(len(pictures), self.settings["pictures"])
        rows = [
            [Image.fromarray(pictures[row]), *(portrait(meshes[row], self.size) for meshes in columns)] for row in shown
        ]
        return picture_sheet(rows, [labels[row] for row in shown], heads, cell=self.size)


def chamfer(cloud: Floats, truth: Floats) -> float:
    """chamfer_l1 of two clouds (N, 3), not normalised; the box's diagonal where there is no surface."""
    return float(chamfer_matrix([cloud], [truth], squared=False)[0, 0]) if len(cloud) else BOX_DIAGONAL


def icons_of(folder: Path) -> dict[str, bytes]:
    """Asset id → picture file, of all libraries in a folder. UserError if there are none."""
    libraries = sorted(folder.glob("*.sh3f"))
    if not libraries:
        raise UserError(f"images.libraries={folder}: there are no .sh3f libraries, give the folder that holds them")
    return {asset: icon for library in libraries for asset, icon in read_icons(library).items()}


def picture_of(payload: bytes) -> np.ndarray:
    """uint8 RGBA (H, W, 4) of a picture file."""
    with Image.open(io.BytesIO(payload)) as picture:
        return np.asarray(picture.convert("RGBA"))


def spread(count: int, wanted: int | None) -> list[int]:
    """At most `wanted` of the numbers below `count`, evenly spread."""
    return [int(place) for place in np.linspace(0, count - 1, min(count, count if wanted is None else wanted)).round()]
