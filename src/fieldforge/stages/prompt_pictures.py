"""Pictures of a diffusion model's samples during training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.shards import open_shards
from fieldforge.diffusion.sampler import Sampler
from fieldforge.domains.domain import Domain, Outputs
from fieldforge.fields.base import Field, Params
from fieldforge.generation import Generator
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.rendering.gallery import Exhibit, Media
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.conditions import conditions, from_samples, latent_conditions, reads_latents
from fieldforge.stages.denoiser_parts import build_generator
from fieldforge.stages.settings import PictureSettings
from fieldforge.stages.work import Batch, Drawing
from fieldforge.training.callbacks.context import Draw
from fieldforge.training.modules.conditional_module import ConditionalModule


def quick(config: DictConfig, sheet: PictureSettings) -> DictConfig:
    """The configuration with the sampler steps of pictures during training."""
    changed = OmegaConf.merge(config, {"sampler": {"steps": sheet.steps}})
    assert isinstance(changed, DictConfig)
    return changed


def exhibit(title: str, picture: Image.Image, output: Outputs, seed: int | None = None) -> Exhibit:
    """A sample of a picture for loggers."""
    media = output.media()
    return Exhibit(title, picture, Media(*media) if media else None, {} if seed is None else {"seed": seed})


def drawing_of_prompts(
    config: DictConfig, batch: Callable[[int], Batch], autoencoder: Callable[[], Autoencoder], sheet: PictureSettings
) -> Drawing:
    """What `pictures_of_prompts` asks of the networks; batches as those of training, on tensors without values."""
    domain: Domain = build(config, "domain")
    count = sheet.count * sheet.seeds
    kind, process = build(config, "loss").model, build(config, "process")
    sampler: Sampler = build(quick(config, sheet), "sampler")
    evaluations = sampler.evaluations(kind(nn.Identity(), process, build(config, "parameterization")))

    def evaluate(module: pl.LightningModule) -> Tensor:
        assert isinstance(module, ConditionalModule)
        guidance = lambda scale: build(config, "guidance", scale=scale)  # noqa: E731
        latents = batch(count)["latent"]
        shape = LatentShape(*latents.shape[1:])
        generator = Generator(module.model, module.conditioner, sampler, guidance, shape)
        steering = generator.steering(batch(count), count, sheet.scale)
        return module.model.guided(steering.guidance, steering.condition, steering.null)(latents, torch.rand(count))

    def decode(module: pl.LightningModule) -> tuple[Field, Params]:
        decoder = autoencoder()
        return decoder.field, decoder.decode(batch(count)["latent"])

    return Drawing(count, domain.points_of_picture(sheet.resolution), decode, evaluations, evaluate)


def pictures_of_prompts(
    config: DictConfig, data: ShardDataModule, autoencoder: Autoencoder, sheet: PictureSettings
) -> Draw:
    """Draws samples for the first training captions, or the first held-out pictures: one column per seed."""
    domain: Domain = build(config, "domain")

    def draw(module: pl.LightningModule, path: Path) -> list[Exhibit]:
        assert isinstance(module, ConditionalModule)
        generator = build_generator(quick(config, sheet), module.model, module.conditioner, autoencoder.latent_shape)
        if reads_latents(module.conditioner):
            write_picture(sheet_beside_latents(domain, data, generator, autoencoder, sheet), path)
            return []
        seen = "image" in generator.keys  # latent shards have no pictures
        unseen = bool(generator.keys & {"image", "coarse"})  # what was never seen tells most
        shards = open_shards(config.data.root, data.shown_split) if unseen else data.shards(data.train_split)
        condition = conditions(domain, shards, generator.keys, sheet.count, from_samples(data))
        batch = {key: [value for value in condition[key] for _ in range(sheet.seeds)] for key in generator.keys}
        seeds = [seed for _ in condition["meta"] for seed in range(sheet.seeds)]
        latents = generator(batch, seeds, sheet.scale)  # (B, T, C)
        outputs = domain.decode(autoencoder.to(module.device), latents, sheet.resolution)
        each = [outputs[index] for index in range(len(outputs))]
        pictures = [output.picture(sheet.size) for output in each]
        images = [[Image.fromarray(pixels)] for pixels in condition["image"]] if seen else [[]] * len(condition["meta"])
        rows = [[*first, *pictures[sheet.seeds * row :][: sheet.seeds]] for row, first in enumerate(images)]
        columns = [*(["given"] if seen else []), *(f"seed {seed}" for seed in range(sheet.seeds))]
        write_picture(picture_sheet(rows, condition["caption"], columns, cell=sheet.size), path)
        titles = [caption for caption in condition["caption"] for _ in range(sheet.seeds)]
        return [exhibit(*one) for one in zip(titles, pictures, each, seeds, strict=True)]

    return draw


def sheet_beside_latents(
    domain: Domain, data: ShardDataModule, generator: Generator, autoencoder: Autoencoder, sheet: PictureSettings
) -> Image.Image:
    """The first held-out latents, decoded, beside samples for what the data give with them: one column per seed."""
    known = latent_conditions(data, generator.conditioner, data.shown_split, sheet.count)
    features = {name: each.repeat(sheet.seeds) for name, each in known["features"].items()}
    seeds = [seed for _ in known["meta"] for seed in range(sheet.seeds)]
    made = generator({"features": features}, seeds, sheet.scale)  # (B, T, C)
    autoencoder.to(generator.device)
    true = domain.decode(autoencoder, known["latent"].to(generator.device), sheet.resolution)
    outputs = domain.decode(autoencoder, made, sheet.resolution)
    pictures = [outputs[index].picture(sheet.size) for index in range(len(outputs))]
    rows = [
        [true[row].picture(sheet.size), *pictures[sheet.seeds * row :][: sheet.seeds]]
        for row in range(len(known["meta"]))
    ]
    names = [meta["name"] for meta in known["meta"]]
    return picture_sheet(rows, names, ["true", *(f"seed {seed}" for seed in range(sheet.seeds))], cell=sheet.size)
