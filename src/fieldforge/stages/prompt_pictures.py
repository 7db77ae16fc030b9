"""Pictures of a diffusion model's samples during training."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.shards import open_shards
from fieldforge.domains.domain import Domain
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import conditions, from_samples
from fieldforge.stages.denoiser_parts import build_generator
from fieldforge.stages.settings import PictureSettings
from fieldforge.training.callbacks.context import Draw
from fieldforge.training.modules.conditional_module import ConditionalModule


def pictures_of_prompts(
    config: DictConfig, data: ShardDataModule, autoencoder: Autoencoder, sheet: PictureSettings
) -> Draw:
    """Draws samples for the first training captions, or the first held-out pictures: one column per seed."""
    domain: Domain = build(config, "domain")

    def draw(module: pl.LightningModule, path: Path) -> None:
        assert isinstance(module, ConditionalModule)
        quick = OmegaConf.merge(config, {"sampler": {"steps": sheet.steps}})
        assert isinstance(quick, DictConfig)
        generator = build_generator(quick, module.model, module.conditioner, autoencoder.latent_shape)
        seen = "image" in generator.keys  # latent shards have no pictures
        unseen = bool(generator.keys & {"image", "coarse"})  # what was never seen tells most
        shards = open_shards(config.data.root, data.shown_split) if unseen else data.shards(data.train_split)
        condition = conditions(domain, shards, generator.keys, sheet.count, from_samples(data))
        batch = {key: [value for value in condition[key] for _ in range(sheet.seeds)] for key in generator.keys}
        seeds = [seed for _ in condition["meta"] for seed in range(sheet.seeds)]
        latents = generator(batch, seeds, sheet.scale)  # (B, T, C)
        outputs = domain.decode(autoencoder.to(module.device), latents, sheet.resolution)
        pictures = [outputs[index].picture(sheet.size) for index in range(len(outputs))]
        images = [[Image.fromarray(pixels)] for pixels in condition["image"]] if seen else [[]] * len(condition["meta"])
        rows = [[*first, *pictures[sheet.seeds * row :][: sheet.seeds]] for row, first in enumerate(images)]
        columns = [*(["given"] if seen else []), *(f"seed {seed}" for seed in range(sheet.seeds))]
        write_picture(picture_sheet(rows, condition["caption"], columns, cell=sheet.size), path)

    return draw
