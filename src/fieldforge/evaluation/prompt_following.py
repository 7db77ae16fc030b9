"""Do generated shapes follow their prompts? A picture of prompts × seeds × guidance, and two numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fieldforge.configuration.stored import data_root
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Surface
from fieldforge.evaluation.picture_following import evaluate_images
from fieldforge.evaluation.questions import Question, questions
from fieldforge.generation import decode
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.metrics.prompts import agreement, nearest_shapes
from fieldforge.metrics.reconstruction import surface_points
from fieldforge.rendering.pictures import write_picture, write_whole
from fieldforge.rendering.shading import portrait
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.training_run import plain
from fieldforge.terminal import status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.side_files import side_file

log = logging.getLogger(__name__)


def evaluate_diffusion(model: Path, config: DictConfig) -> Path:
    """Sample prompts × seeds × guidance scales; writes `evaluation/prompts.json` and `.png` beside the model.

    A model that knows pictures is asked with these too, or with these alone: see `evaluate_images`.
    """
    settings = plain(config.prompts)
    steps = settings["steps"]
    overrides = OmegaConf.create({"sampler": {"steps": steps}}) if steps else None
    sampler, autoencoder, label = load_diffusion(model, overrides, best_device(config.device))
    root = data_root(config, label["config"], model)
    metas, clouds = training_shapes(root, settings["cloud_points"])
    folder = model.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    about = {"run": str(model.parent), "fingerprint": label["fingerprint"], "data": str(root)}
    if "image" in sampler.keys:
        page = evaluate_images(sampler, autoencoder, root, (metas, clouds), plain(config.images), about, folder)
        if sampler.keys == {"image"}:
            return page
    asked = questions(metas, sampler.keys, settings["count"], settings["file"])
    jobs = [(row, seed) for row in range(len(asked)) for seed in settings["seeds"]]
    meshes: dict[float, list[ColoredMesh]] = {}
    by_guidance: dict[float, dict[str, Any]] = {}
    for scale in settings["guidance"]:
        made = []
        for start in range(0, len(jobs), settings["batch_size"]):
            part = jobs[start : start + settings["batch_size"]]
            batch = {
                "caption": [asked[row].text for row, _ in part],
                "class": [asked[row].kind or "" for row, _ in part],
            }
            shapes = decode(autoencoder, sampler(batch, [seed for _, seed in part], scale))
            made += [shapes.mesh(index, settings["mesh_resolution"]) for index in range(len(part))]
            done = start + len(part)
            status(f"guidance {scale:g}: {done}/{len(jobs)}")
        rng = np.random.default_rng(0)
        generated = [surface_points(mesh, settings["cloud_points"], rng)[0] for mesh in made]
        meshes[scale] = made
        by_guidance[scale] = judged(generated, [asked[row] for row, _ in jobs], metas, clouds)
    status("")
    report = by_guidance[settings["judged_guidance"]] | {
        "by_guidance": {f"{scale:g}": found for scale, found in by_guidance.items()},
        **about,
        "measured_with": settings,
        "prompts": [{"prompt": question.text, "name": question.name, "class": question.kind} for question in asked],
    }
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / "prompts.json")
    with side_file(folder / "prompts.png"):
        write_picture(sheet(meshes, jobs, asked, settings["picture_size"]), folder / "prompts.png")
    for scale, agreements in by_guidance.items():
        for kind, found in agreements.items():
            print(
                f"guidance {scale:g}: nearest training shape has the prompted {kind}: {found['share']:.1%}, "
                f"by chance {found['chance']:.2%}, {found['lift']:.1f} times as often"
            )
    print(f"{folder}/prompts.json and .png")
    return folder / "prompts.json"


def sheet(
    meshes: Mapping[float, Sequence[ColoredMesh]], jobs: Sequence[tuple[int, int]], asked: Sequence[Question], size: int
) -> Image.Image:
    """A row for each question, a column for each guidance and seed; `jobs` are row and seed of the meshes."""
    columns: dict[tuple[float, int], list[Image.Image]] = {}
    for scale, made in meshes.items():
        for (_, seed), mesh in zip(jobs, made, strict=True):
            columns.setdefault((scale, seed), []).append(portrait(mesh, size))
    rows = [[pictures[row] for pictures in columns.values()] for row in range(len(asked))]
    heads = [f"guidance {scale:g}\nseed {seed}" for scale, seed in columns]
    return picture_sheet(rows, [question.text.replace("_", " ") for question in asked], heads, cell=size)


def training_shapes(root: str, points: int) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Metadata and outside points (N, 3) of every training asset."""
    metas, clouds = [], []
    for batch in HeldOut(open_shards(root, "train"), [Surface(points), Meta()], seed=0, batch_size=16):
        metas += batch["meta"]
        clouds += list(batch["input"][..., :3].numpy())
    return metas, clouds


def judged(
    generated: list[np.ndarray], asked: list[Question], metas: list[dict[str, Any]], clouds: list[np.ndarray]
) -> dict[str, Any]:
    """Agreement of names and of classes, over the shapes that were asked for by a label of the training."""
    nearest = nearest_shapes(generated, clouds)
    figures = {}
    for label, meant, borne in (
        ("name", [question.name for question in asked], [meta["name"].lower() for meta in metas]),
        ("class", [question.kind for question in asked], [meta["class"] for meta in metas]),
    ):
        chosen = [index for index, value in enumerate(meant) if value is not None]
        if chosen:
            found = agreement(nearest[chosen], [str(meant[index]) for index in chosen], borne)
            figures[label] = {
                "share": found.share,
                "chance": found.chance,
                "lift": found.lift,
                "shapes": len(chosen),
            }
    if not figures:
        log.warning("no prompt contains the name of a training shape, so agreement is not measured")
    return figures
