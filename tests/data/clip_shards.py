"""Shards of small clips: a square that turns its colour as the camera goes around."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.manifest import write_manifest
from fieldforge.data.writer import ShardWriter


def small_clip(number: int, frames: int, size: int, split: str) -> dict[str, Any]:
    """Frame k of clip n shows a square of its own place and colour over transparency."""
    generator = np.random.default_rng(number)
    color, side = generator.integers(0, 200, 3), size // 2
    angles = [2 * math.pi * frame / frames for frame in range(frames)]
    sample: dict[str, Any] = {
        "meta.json": {
            "id": f"c{number}", "name": f"clip {number}", "class": "other", "captions": ["a square"],
            "captions_by_language": {}, "tags": [], "source": "test", "licence": "CC0-1.0", "creator": "me",
            "split": split, "fps": None, "fov_y": 0.7, "azimuth": angles, "elevation": [0.1] * frames,
        }
    }  # fmt: skip
    for frame, angle in enumerate(angles):
        pixels = np.zeros((size, size, 4), np.uint8)
        left = round((size - side) * (1 + math.sin(angle)) / 2)
        pixels[side // 2 : side // 2 + side, left : left + side] = [*color, 255]
        sample[f"frame_{frame:03d}.png"] = pixels
    return sample


def write_small_clips(root: Path, clips: int = 6, frames: int = 4, size: int = 16) -> Path:
    """Shards of `clips` clips, two of them held out."""
    root.mkdir(parents=True)
    settings, entries = {"recipe": "small", "size": size, "frames": frames}, []
    for split, numbers in (("heldout", range(2)), ("train", range(2, clips))):
        with ShardWriter(root, CLIP, settings, samples_per_shard=len(numbers), split=split) as writer:
            for number in numbers:
                writer.write(f"c{number}", small_clip(number, frames, size, split))
        entries += writer.entries
    write_manifest(root, CLIP, settings, entries, {"classes": {"other": clips}})
    return root
