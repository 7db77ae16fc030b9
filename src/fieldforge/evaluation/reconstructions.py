"""How well an autoencoder rebuilds assets that it has not seen."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.stored import data_root
from fieldforge.configuration.values import whole_number
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Surface, Transform
from fieldforge.generation import Shapes, reconstruct
from fieldforge.metrics.reconstruction import compare_surfaces, peak_signal_to_noise, surface_points, volume_iou
from fieldforge.rendering.pictures import write_picture, write_whole
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.shape_truth import Key, TrueGeometry, TrueViews, reconstruction_rows, reconstruction_sheet
from fieldforge.stages.training_run import plain
from fieldforge.terminal import status
from fieldforge.training.processes.hardware import best_device
from fieldforge.training.processes.side_files import side_file

log = logging.getLogger(__name__)


def evaluate_autoencoder(model: Path, config: DictConfig) -> Path:
    """Measure reconstructions of a split; writes `evaluation/<split>.json` and `.png` beside the model.

    Every asset goes through the latents that the diffusion sees, from `encoder_points` points on its outside.
    """
    autoencoder, label = load_autoencoder(model, best_device(config.device))
    root = data_root(config, label["config"], model)
    settings = plain(config.reconstruction)
    points = whole_number(config, "reconstruction.encoder_points")
    transforms: list[Transform] = [
        Surface(points),
        TrueGeometry(),
        TrueViews(whole_number(config, "reconstruction.views")),
        Meta(),
        Key(),
    ]
    samples = HeldOut(open_shards(root, config.split), transforms, seed=0, batch_size=1, limit=config.limit)
    assets = []
    for number, batch in enumerate(samples):
        rebuilt = reconstruct(autoencoder, batch["input"].to(autoencoder.latent_mean.device))
        measured = measure(rebuilt, batch, settings)
        meta = batch["meta"][0]
        assets.append({"key": batch["key"][0], "name": meta["name"], "class": meta["class"], **measured})
        status(f"{number + 1}/{samples.samples} {meta['name'][:40]}")
    status("")
    numbers = [name for name, value in assets[0].items() if isinstance(value, float)]
    summary = {name: fmean(asset[name] for asset in assets) for name in numbers}
    report = {
        "run": str(model.parent),
        "fingerprint": label["fingerprint"],
        "data": str(root),
        "split": config.split,
        "assets": len(assets),
        "measured_with": settings,
        "mean": summary,
        "median": {name: median(asset[name] for asset in assets) for name in numbers},
        "per_asset": assets,
    }
    folder = model.parent / "evaluation"
    folder.mkdir(exist_ok=True)
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), folder / f"{config.split}.json")
    if settings["pictures"]:
        with side_file(folder / f"{config.split}.png"):
            write_picture(sheet(autoencoder, samples, assets, settings), folder / f"{config.split}.png")
    for name in numbers:
        print(f"{name:28s} {summary[name]:8.4f}   median {report['median'][name]:8.4f}")
    print(f"{len(assets)} assets of {config.split}; {folder / config.split}.json and .png")
    return folder / f"{config.split}.json"


def sheet(
    autoencoder: Autoencoder, samples: HeldOut, assets: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> Image.Image:
    """Truth and reconstruction of the first assets, with what was measured of each."""
    rows, labels = [], []
    for batch, asset in zip(samples, assets[: settings["pictures"]], strict=False):
        rebuilt = reconstruct(autoencoder, batch["input"].to(autoencoder.latent_mean.device))
        rows += reconstruction_rows(rebuilt, batch, settings["picture_size"], settings["mesh_resolution"])
        labels.append(f"{asset['name']}\nIoU {asset['iou']:.2f}\nF {asset['f_score']:.2f}")
    return reconstruction_sheet(rows, labels, settings["picture_size"])


@torch.no_grad()
def measure(rebuilt: Shapes, batch: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of one reconstruction (a batch of 1) against its stored truth."""
    sdf = rebuilt.sdf(batch["box_points"].to(rebuilt.device))[0].cpu().numpy()  # (K,)
    mesh = rebuilt.mesh(0, settings["mesh_resolution"])
    made, made_normals = surface_points(mesh, settings["surface_points"], np.random.default_rng(0))
    truth, normals = batch["true_points"][0].numpy(), batch["true_normals"][0].numpy()
    everything = compare_surfaces(made, made_normals, truth, normals, settings["f_score_threshold"])
    outside = batch["exposed"][0].numpy()
    if not outside.any():
        outside = np.ones_like(outside)
    exposed = compare_surfaces(made, made_normals, truth[outside], normals[outside], settings["f_score_threshold"])
    views = batch["views"][0].numpy()  # (V, H, W, 4)
    seen = [rebuilt.views(pose[None], float(batch["fov_y"][0]), views.shape[1])[0] for pose in batch["cameras"][0]]
    return {
        "iou": volume_iou(sdf, batch["box_sdf"][0].numpy()),
        "chamfer_l1": everything.chamfer_l1,
        "f_score": everything.f_score,
        "normal_consistency": everything.normal_consistency,
        "chamfer_l1_exposed": exposed.chamfer_l1,
        "f_score_exposed": exposed.f_score,
        "normal_consistency_exposed": exposed.normal_consistency,
        "view_psnr": peak_signal_to_noise(torch.stack(seen)[..., :3].cpu().numpy(), views[..., :3]),
    }
