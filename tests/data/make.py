"""Small, real-shaped samples for the tests of this room."""

from pathlib import Path

import numpy as np

from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import Manifest, write_manifest
from fieldforge.data.schema import Sample
from fieldforge.data.shape_schema import DEPTH_UNIT, SAMPLE
from fieldforge.data.writer import ShardWriter


def meta(key: str, split: str = "train") -> dict:
    return {
        "id": key, "name": f"shape {key}", "class": "seating", "captions": [f"shape {key}", f"a shape {key}"],
        "captions_by_language": {"de": f"Form {key}"}, "tags": [], "source": "test", "licence": "CC0-1.0",
        "creator": "me", "split": split, "center": [0.0, 0.0, 0.0], "scale": 1.0, "epsilon": 0.006, "fov_y": 0.7,
        "size_cm": None,
    }  # fmt: skip


def look_at_origin(eye: np.ndarray) -> np.ndarray:
    """Camera to world (4, 4), OpenGL axes."""
    back = eye / np.linalg.norm(eye)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    camera = np.eye(4, dtype=np.float32)
    camera[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    camera[:3, 3] = eye
    return camera


def sphere_sample(key: str, radius: float = 0.5, points: int = 64, pixels: int = 16, views: int = 3) -> Sample:
    """A sphere about the origin, coloured by its normal: everything in it is known in closed form."""
    rng = np.random.default_rng(abs(hash_of(key)))
    normals = rng.normal(size=(points, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    volume = rng.uniform(-1, 1, (points, 3)).astype(np.float16)
    near = (normals * (radius + rng.normal(0, 0.02, (points, 1)))).astype(np.float16)
    sample: Sample = {
        "meta.json": meta(key),
        "surface_points.npy": (normals * radius).astype(np.float16),
        "surface_normals.npy": np.rint(normals * 127).astype(np.int8),
        "surface_colors.npy": np.rint((normals + 1) * 127.5).astype(np.uint8),
        "surface_exposed.npy": (np.arange(points) % 4 != 0).astype(np.uint8),
        "near_points.npy": near,
        "near_sdf.npy": (np.linalg.norm(near.astype(np.float32), axis=1) - radius).astype(np.float16),
        "volume_points.npy": volume,
        "volume_sdf.npy": (np.linalg.norm(volume.astype(np.float32), axis=1) - radius).astype(np.float16),
    }
    eyes = rng.normal(size=(views, 3)) + np.array([0, 0.1, 0])
    sample["cameras.npy"] = np.stack([look_at_origin(2.5 * eye / np.linalg.norm(eye)) for eye in eyes])
    for view in range(views):
        rgba, depth = render_sphere(sample["cameras.npy"][view], radius, pixels, sample["meta.json"]["fov_y"])
        sample[f"view_{view:03d}.png"] = rgba
        sample[f"depth_{view:03d}.png"] = depth
    return sample


def render_sphere(camera: np.ndarray, radius: float, pixels: int, fov_y: float) -> tuple[np.ndarray, np.ndarray]:
    """RGBA (H, W, 4) uint8 and depth (H, W) uint16 by the ray-sphere equation, pixel by pixel."""
    rgba = np.zeros((pixels, pixels, 4), np.uint8)
    depth = np.zeros((pixels, pixels), np.uint16)
    for row in range(pixels):
        for column in range(pixels):
            x = (2 * (column + 0.5) / pixels - 1) * np.tan(fov_y / 2)
            y = (1 - 2 * (row + 0.5) / pixels) * np.tan(fov_y / 2)
            direction = camera[:3, :3] @ (np.array([x, y, -1.0]) / np.sqrt(x * x + y * y + 1))
            origin = camera[:3, 3]
            half = origin @ direction
            discriminant = half * half - (origin @ origin - radius * radius)
            if discriminant > 0:
                distance = -half - np.sqrt(discriminant)
                normal = (origin + distance * direction) / radius
                rgba[row, column] = [*np.rint((normal + 1) * 127.5), 255]
                depth[row, column] = round(distance / DEPTH_UNIT)
    return rgba, depth


def hash_of(key: str) -> int:
    return int.from_bytes(key.encode()[-6:], "big")


def latent_sample(key: str, tokens: int = 2, channels: int = 3) -> Sample:
    """The latent holds the key's number, so that a test sees which sample it got."""
    number = float("".join(filter(str.isdigit, key)) or 0)
    return {"meta.json": meta(key), "latent.npy": np.full((tokens, channels), number, np.float32)}


def write_latents(folder: Path, samples: int, samples_per_shard: int, split: str = "train") -> Manifest:
    with ShardWriter(folder, LATENT, {"made_by": "test"}, samples_per_shard, split) as writer:
        for number in range(samples):
            writer.write(f"s{number:06d}", latent_sample(f"s{number:06d}"))
    return write_manifest(folder, LATENT, {"made_by": "test"}, writer.entries)


def write_spheres(folder: Path, samples: int, samples_per_shard: int, heldout: int = 0) -> Manifest:
    settings = {"made_by": "test"}
    entries = []
    for split, count in (("train", samples), ("heldout", heldout)):
        with ShardWriter(folder, SAMPLE, settings, samples_per_shard, split) as writer:
            for number in range(count):
                writer.write(f"{split}{number:06d}", sphere_sample(f"{split}{number:06d}"))
        entries += writer.entries
    return write_manifest(folder, SAMPLE, settings, entries)
