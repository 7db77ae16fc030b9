"""Tiny data with known truth: coloured balls of several radii as sample shards."""

import math
import os
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from fieldforge.data.manifest import write_manifest
from fieldforge.data.shape_schema import DEPTH_UNIT, SAMPLE
from fieldforge.data.writer import ShardWriter
from fieldforge.geometry.camera import Camera, fibonacci_poses, framing_distance
from fieldforge.training.processes import interruption

COLORS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}
SETTINGS = {"made_by": "tests"}
FOV_Y = math.radians(40)


def ball(radius: float, color: str, split: str, seed: int, points: int = 256, size: int = 16, views: int = 3) -> dict:
    """A sample of the shard's schema whose every value follows from the radius."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(points, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    near = normals * (radius + rng.normal(0, 0.05, (points, 1)))
    volume = rng.uniform(-1, 1, (points, 3))
    poses = fibonacci_poses(views, framing_distance(FOV_Y, 0.9 * 3**0.5))
    sample = {
        "meta.json": {
            "id": f"ball-{seed}",
            "name": f"{color} ball",
            "class": color,
            "captions": [f"a {color} ball", "a ball"],
            "captions_by_language": {},
            "tags": [],
            "source": "tests",
            "licence": "CC0",
            "creator": "",
            "split": split,
            "center": [0.0, 0.0, 0.0],
            "scale": 1.0,
            "epsilon": 0.0,
            "fov_y": FOV_Y,
            "size_cm": None,
        },
        "surface_points.npy": (normals * radius).astype(np.float16),
        "surface_normals.npy": np.round(normals * 127).astype(np.int8),
        "surface_colors.npy": np.tile(np.uint8(COLORS[color]), (points, 1)),
        "surface_exposed.npy": np.ones(points, np.uint8),
        "near_points.npy": near.astype(np.float16),
        "near_sdf.npy": (np.linalg.norm(near, axis=1) - radius).astype(np.float16),
        "volume_points.npy": volume.astype(np.float16),
        "volume_sdf.npy": (np.linalg.norm(volume, axis=1) - radius).astype(np.float16),
        "cameras.npy": poses.numpy().astype(np.float32),
    }
    for view, pose in enumerate(poses):
        rays = Camera(pose, FOV_Y, size, size).rays()
        closest = -(rays.origins * rays.directions).sum(-1)  # (H, W) distance along the ray
        missed = rays.origins.square().sum(-1) - closest.square()
        hit = missed < radius**2
        depth = closest - torch.sqrt((radius**2 - missed).clamp(min=0))
        picture = np.zeros((size, size, 4), np.uint8)
        picture[hit.numpy()] = (*COLORS[color], 255)
        sample[f"view_{view:03d}.png"] = picture
        sample[f"depth_{view:03d}.png"] = np.round(np.where(hit, depth, 0) / DEPTH_UNIT).astype(np.uint16)
    return sample


def write_balls(folder: Path, train: int = 9, heldout: int = 3) -> Path:
    """Shards of balls, three a shard; returns the folder."""
    entries = []
    for split, count, first in (("train", train, 0), ("heldout", heldout, 1000)):
        with ShardWriter(folder, SAMPLE, SETTINGS, samples_per_shard=3, split=split) as writer:
            for number in range(count):
                color = list(COLORS)[number % 3]
                sample = ball(0.3 + 0.4 * number / max(1, count - 1), color, split, first + number)
                writer.write(f"{split}-{number:03d}", sample)
        entries += writer.entries
    write_manifest(folder, SAMPLE, SETTINGS, entries, {"classes": dict.fromkeys(COLORS, train // 3)})
    return folder


class SignalAt(pl.Callback):
    """Sends this process a signal in the middle of a step, if it is the one of this rank."""

    def __init__(self, step: int, number: int, rank: int = 0):
        self.step, self.number, self.rank = step, number, rank

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), self.number)


class TimeUpAt(pl.Callback):
    """The time limit of each process passes in the middle of a step."""

    def __init__(self, step: int):
        self.step = step

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        if trainer.global_step == self.step:
            interruption.limit_time(1e-6)


class NotANumber(pl.Callback):
    """Spoils the batches of steps [first, last] in the process of this rank."""

    def __init__(self, first: int, last: int, rank: int = 0):
        self.first, self.last, self.rank = first, last, rank

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: dict, batch_idx: int
    ) -> None:
        if self.first <= trainer.global_step + 1 <= self.last and trainer.global_rank == self.rank:
            batch["input"].fill_(math.nan)
