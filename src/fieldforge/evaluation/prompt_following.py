"""Do generated shapes follow their prompts? A picture of prompts × seeds × guidance, and two numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fieldforge.configuration.stored import data_root
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.evaluation.picture_following import evaluate_images
from fieldforge.evaluation.questions import Question, questions
from fieldforge.metrics.prompts import agreement
from fieldforge.rendering.pictures import write_picture, write_whole
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.training_run import plain
from fieldforge.terminal import printable, status
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
    generator, autoencoder, label = load_diffusion(model, overrides, best_device(config.device))
    root = data_root(config, label["config"], model)
    domain = load_domain(label, model, config.domain)
    metas, signatures = training_samples(domain, root)
    folder = model.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    about = {"run": str(model.parent), "fingerprint": label["fingerprint"], "data": str(root)}
    if "image" in generator.keys:
        page = evaluate_images(
            generator, autoencoder, domain, root, (metas, signatures), plain(config.images), about, folder
        )
        if generator.keys == {"image"}:
            return page
    asked = questions(metas, generator.keys, settings["count"], settings["file"])
    jobs = [(row, seed) for row in range(len(asked)) for seed in settings["seeds"]]
    outputs: dict[float, list[Outputs]] = {}
    by_guidance: dict[float, dict[str, Any]] = {}
    for scale in settings["guidance"]:
        made = []
        for start in range(0, len(jobs), settings["batch_size"]):
            part = jobs[start : start + settings["batch_size"]]
            batch = {
                "caption": [asked[row].text for row, _ in part],
                "class": [asked[row].kind or "" for row, _ in part],
            }
            latents = generator(batch, [seed for _, seed in part], scale)  # (B, T, C)
            decoded = domain.decode(autoencoder, latents, settings["resolution"])
            made += [decoded[index] for index in range(len(part))]
            done = start + len(part)
            status(f"guidance {scale:g}: {done}/{len(jobs)}")
        generated = [signature for output in made for signature in domain.signatures(output)]
        outputs[scale] = made
        nearest = domain.nearest(generated, signatures)
        by_guidance[scale] = judged(nearest, [asked[row] for row, _ in jobs], metas)
    status("")
    report = by_guidance[settings["judged_guidance"]] | {
        "by_guidance": {f"{scale:g}": found for scale, found in by_guidance.items()},
        **about,
        "measured_with": settings,
        "prompts": [{"prompt": question.text, "name": question.name, "class": question.kind} for question in asked],
    }
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / "prompts.json")
    with side_file(folder / "prompts.png"):
        write_picture(sheet(outputs, jobs, asked, settings["picture_size"]), folder / "prompts.png")
    for scale, agreements in by_guidance.items():
        for kind, found in agreements.items():
            print(
                f"guidance {scale:g}: nearest training shape has the prompted {kind}: {found['share']:.1%}, "
                f"by chance {found['chance']:.2%}, {found['lift']:.1f} times as often"
            )
    print(printable(f"{folder}/prompts.json and .png"))
    return folder / "prompts.json"


def sheet(
    outputs: Mapping[float, Sequence[Outputs]], jobs: Sequence[tuple[int, int]], asked: Sequence[Question], size: int
) -> Image.Image:
    """A row for each question, a column for each guidance and seed; `jobs` are row and seed of the outputs."""
    columns: dict[tuple[float, int], list[Image.Image]] = {}
    for scale, made in outputs.items():
        for (_, seed), output in zip(jobs, made, strict=True):
            columns.setdefault((scale, seed), []).append(output.picture(size))
    rows = [[pictures[row] for pictures in columns.values()] for row in range(len(asked))]
    heads = [f"guidance {scale:g}\nseed {seed}" for scale, seed in columns]
    return picture_sheet(rows, [question.text.replace("_", " ") for question in asked], heads, cell=size)


def training_samples(domain: Domain, root: str) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Metadata and signature of every training sample."""
    metas, signatures = [], []
    transforms: list[Transform] = [*domain.input_transforms(), Meta()]
    for batch in HeldOut(open_shards(root, "train"), transforms, seed=0, batch_size=16):
        metas += batch["meta"]
        signatures += domain.stored_signatures(batch)
    return metas, signatures


def judged(nearest: NDArray[np.int64], asked: list[Question], metas: list[dict[str, Any]]) -> dict[str, Any]:
    """Agreement of names and of classes, over the shapes that were asked for by a label of the training."""
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
