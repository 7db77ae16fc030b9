"""Trains one stage for a few steps in this process and tells how much memory that took: python … STAGE OVERRIDE…"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fieldforge.configuration.build import build
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.writer import ShardWriter
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.autoencoder_stage import AutoencoderStage
from fieldforge.stages.denoiser_parts import build_module
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.samples import sample_data
from fieldforge.stages.training_run import StepSettings, seeded, train

LATENT_SHAPE = LatentShape(768, 8)
SMALL = [
    "autoencoder.encoder.width=32",
    "autoencoder.encoder.layers=1",
    "autoencoder.encoder.convolution_width=8",
    "autoencoder.decoder.width=32",
    "autoencoder.decoder.layers=1",
    "backbone.width=48",
    "backbone.layers=1",
    *(f"training.{stage}.batch_size=1" for stage in ("autoencoder", "diffusion")),
]


def composed(overrides: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides)


def memory(key: str) -> float:
    """A line of /proc/self/status in bytes: VmRSS now, VmHWM at most so far."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1]) * 1024


def write_latents(folder: Path) -> Path:
    meta = {
        **dict.fromkeys(("id", "name", "source", "licence", "creator", "split"), "x"),
        **{"class": "red", "captions": ["x"], "captions_by_language": {}, "tags": [], "center": [0.0, 0.0, 0.0]},
        **{"scale": 1.0, "epsilon": 0.0, "fov_y": 0.7, "size_cm": None},
    }
    entries = []
    for split in ("train", "heldout"):
        with ShardWriter(folder, LATENT, {}, 8, split) as writer:
            for number in range(8):
                latent = np.random.default_rng(number).normal(size=LATENT_SHAPE[:2]).astype(np.float32)
                writer.write(f"{split}-{number}", {"meta.json": meta, "latent.npy": latent})
        entries += writer.entries
    write_manifest(folder, LATENT, {}, entries, {"classes": {"red": 8}})
    return folder


def train_stage(stage: str, config: DictConfig) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = StageDirectory.of(stage, Path(place), {"stage": stage})
        if stage == "autoencoder":
            module = AutoencoderStage(config).module()
            data = sample_data(config)
        else:
            module = build_module(config, stage, LATENT_SHAPE, seeded(config, "conditioner"))
            size = StepSettings.of(config, stage).batch_size
            data = build(config, "latent_data", root=str(write_latents(Path(place) / "latents")), batch_size=size)
        train(config, build(config, "monitor"), directory, module, data, draw=None)


def main(stage: str, overrides: list[str]) -> None:
    train_stage(stage, composed([*overrides, *SMALL]))  # so that what libraries take for themselves is taken
    before = memory("VmRSS")
    train_stage(stage, composed(overrides))
    print(json.dumps({"bytes": memory("VmHWM") - before}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
