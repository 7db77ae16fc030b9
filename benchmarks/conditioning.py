"""How much faster training is with stored embeddings than with encoding live, for CLIP towers of ViT-B/32 size.

    python benchmarks/conditioning.py

Random weights (speed does not depend on their values), real shards in a temporary folder. A step, as the framework
trains it: read the batch, embed a caption and a view of each sample, condition, loss, backward, optimiser; encoders in
float32, the rest in the precision that `trainer=auto` chooses on this machine. The denoiser costs the same either way,
so the ratio falls with its size; the fair one is what is trained when nothing else is chosen: the default backbone on
the latents of the default autoencoder, in the default batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from fieldforge.conditioning import ClipImageEncoder, ClipTextEncoder, Conditioner, ImageSource, TextSource
from fieldforge.conditioning.stored import embed_shards
from fieldforge.conditioning.transforms import StoredFeatures, View
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.shape_schema import SAMPLE
from fieldforge.data.transforms import Labels, Latent, Transform
from fieldforge.data.writer import ShardWriter
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.diffusion_stage import build_model
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.processes.precision import best_precision

WORDS = [f"word{i}" for i in range(400)]
LATENT_SHAPE = LatentShape(768, 8)  # of configs/autoencoder/planes.yaml


def save_towers(folder: Path) -> None:
    """CLIP ViT-B/32: text of 12 layers, width 512; vision of 12 layers, width 768, 224² in patches of 32."""
    end = 1
    vocab = {token: i for i, token in enumerate(["<|startoftext|>", "<|endoftext|>", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocab, unk_token="word0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", end)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    ).save_pretrained(folder)
    text = {"eos_token_id": end, "bos_token_id": 0, "pad_token_id": end}
    CLIPModel(CLIPConfig(text_config=text)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))


def save_data(samples: Path, latents: Path, count: int, views: int, pixels: int) -> None:
    """`count` assets with `views` pictures and 5 captions each, as sample shards and as latent shards."""
    random = np.random.default_rng(0)
    writers = [ShardWriter(root, schema, {}, 64, "train") for root, schema in ((samples, SAMPLE), (latents, LATENT))]
    points = np.zeros((4, 3), np.float16)
    for number in range(count):
        captions = [" ".join(random.choice(WORDS, 8)) for _ in range(5)]
        meta = {
            "id": f"a{number}", "name": "a", "class": "b", "captions": captions, "captions_by_language": {}, "tags": [],
            "source": "", "licence": "", "creator": "", "split": "train", "center": [0, 0, 0], "scale": 1.0,
            "epsilon": 0.006, "fov_y": 0.7, "size_cm": None,
        }  # fmt: skip
        whole = {"meta.json": meta, "cameras.npy": np.stack([np.eye(4, dtype=np.float32)] * views)}
        whole |= {f"{name}_points.npy": points for name in ("surface", "near", "volume")}
        whole |= {f"{name}_sdf.npy": points[:, 0] for name in ("near", "volume")}
        whole |= {"surface_normals.npy": points.astype(np.int8), "surface_colors.npy": points.astype(np.uint8)}
        whole |= {"surface_exposed.npy": np.ones(4, np.uint8)}
        for view in range(views):
            picture = np.zeros((pixels, pixels, 4), np.uint8)
            picture[pixels // 8 : -pixels // 8, pixels // 4 : -pixels // 4] = 200
            whole |= {f"view_{view:03d}.png": picture, f"depth_{view:03d}.png": np.ones((pixels, pixels), np.uint16)}
        latent = random.normal(size=LATENT_SHAPE[:2]).astype(np.float32)
        for writer, sample in zip(writers, (whole, {"meta.json": meta, "latent.npy": latent}), strict=True):
            writer.write(str(meta["id"]), sample)
    for writer in writers:
        writer.close()
        write_manifest(writer.folder, writer.schema, {}, writer.entries)


@dataclass(frozen=True)
class Cost:
    """CPU-seconds of a training step, and of what it takes to have the features: reading and encoding."""

    step: float
    features: float

    def __str__(self) -> str:
        return f"{self.step:.2f} s ({self.features:.3f} of them for reading and features)"


def cost_of(conditioner: Conditioner, data: ShardDataModule, config: DictConfig, steps: int) -> Cost:
    """Medians over `steps` training steps, after one to warm up.

    CPU time, not wall time: other work on the machine counts only as far as it takes caches and memory away.
    """
    model = build_model(config, LATENT_SHAPE, conditioner)
    optimizer = build_optimizer(build(config, "training.diffusion.optimizer"), model, conditioner)
    loss_of, weighting, low = (
        build(config, "loss"),
        build(config, "weighting"),
        best_precision(gpu=False) == "bf16-mixed",
    )
    generator, batches = torch.Generator().manual_seed(0), iter(data.train_dataloader())
    costs = []
    for _ in range(1 + steps):
        started = time.process_time()
        batch = next(batches)
        features = conditioner.embed(batch)
        ready = time.process_time()
        x0 = batch["latent"]
        noise, t = torch.randn(x0.shape, generator=generator), torch.rand(len(x0), generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            condition = conditioner(features, conditioner.draw_drop(len(x0), generator))
            loss = loss_of(model, x0, noise, t, condition, weighting).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        costs.append((time.process_time() - started, ready - started))
    return Cost(*(statistics.median(kind) for kind in zip(*costs[1:], strict=True)))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--assets", type=int, default=32)
    arguments.add_argument("--steps", type=int, default=8)
    options = arguments.parse_args()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=shape_latent"])
    width, batch_size = config.conditioner.width, config.training.diffusion.batch_size
    with tempfile.TemporaryDirectory() as temporary:
        towers, samples, latents = (Path(temporary) / name for name in ("towers", "samples", "latents"))
        save_towers(towers)
        save_data(samples, latents, options.assets, views=4, pixels=128)
        # Large data sets meet most captions once: a cache of one string keeps live encoding live.
        text = TextSource(ClipTextEncoder(str(towers)), width, tokens=False, cache_size=1)
        image = ImageSource(ClipImageEncoder(str(towers)), width, tokens=False)
        conditioner = Conditioner({"clip_text": text, "clip_image": image}, drop_all=0.1)
        started = time.process_time()
        embed_shards(samples, conditioner)
        seconds = (time.process_time() - started) / options.assets
        print(f"embedding ahead: {seconds:.2f} CPU-seconds an asset (5 captions, 4 views), once")

        def data(transform: Transform) -> ShardDataModule:
            transforms: dict[str, Transform] = {"latent": Latent(), "labels": Labels(), "condition": transform}
            return ShardDataModule(latents, transforms, batch_size)

        ahead, view = data(StoredFeatures(str(samples), conditioner.names)), data(View(str(samples)))
        with build(config, "trainer").products():
            live, stored = (cost_of(conditioner, way, config, options.steps) for way in (view, ahead))
        print(
            f"default denoiser, {best_precision(gpu=False)}: a step of {batch_size} samples takes {live} live, "
            f"{stored} stored"
        )
        print(f"ratio: {live.step / stored.step:.2f}")


if __name__ == "__main__":
    main()
