"""The stage of a prior: a text-conditioned diffusion over the stored vectors of an image source.

As in DALL·E 2 (Ramesh et al. 2022, arXiv 2204.06125, section 2.2). It needs no autoencoder: its latents are the vectors
that `prepare.py embed=…` stores. The stage embeds missing vectors itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.image_source import ImageSource
from fieldforge.conditioning.prior import EmbeddingSpace, VectorLatent
from fieldforge.conditioning.stored import embedding_folder, has_embeddings
from fieldforge.conditioning.text_source import TextSource
from fieldforge.conditioning.transforms import StoredFeatures
from fieldforge.configuration.build import build
from fieldforge.configuration.stored_config import load_run, of_run, plain_config
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.errors import UserError
from fieldforge.generation import ImagePrior
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.stages.conditioner_check import check_prior_conditioner
from fieldforge.stages.denoiser_parts import build_generator, build_model, build_module, stand_in_classes, with_classes
from fieldforge.stages.diffusion_stage import DENOISER
from fieldforge.stages.directory import StageDirectory, load_weights
from fieldforge.stages.embedding_work import embedding_of, feature_bytes
from fieldforge.stages.encoding import embed_once, measure_vectors
from fieldforge.stages.identity import conditions
from fieldforge.stages.latent_batches import feature_widths, latent_batches
from fieldforge.stages.samples import training_split
from fieldforge.stages.stage import NOISY_LATENTS, Results, Saved, TrainedStage
from fieldforge.stages.training_run import plain, seeded
from fieldforge.stages.work import Sizes, Step


class PriorStage(TrainedStage):
    """A diffusion over the stored vectors of `prior.source`."""

    kind = "prior"
    noun = "a prior"
    blocks = ("prior", "data", *DENOISER, *NOISY_LATENTS, "sampler", "guidance", "training.prior")
    label_types = {"space.mean": Tensor, "space.std": Tensor}
    conditioner: Conditioner
    space: EmbeddingSpace
    data_module: ShardDataModule
    encoder: dict[str, Any]

    @property
    def source(self) -> str:
        """Name of the image source whose vectors are generated."""
        return str(self.config.prior.source)

    def check(self) -> None:
        check_prior_conditioner(self.config, image_source(self.config, self.source))

    def work(self, sizes: Sizes) -> Step:
        generated: Any = image_source(self.config, self.source).source(self.source)
        width: int = generated.encoder.vector_width
        config = stand_in_classes(self.config, sizes.classes)
        conditioner: Conditioner = seeded(config, "conditioner")
        features = feature_widths(conditioner, sizes.text_tokens)

        def module() -> pl.LightningModule:
            return build_module(config, self.kind, LatentShape(1, width), seeded(config, "conditioner"))

        texts = {name: one for name, one in conditioner.sources.items() if isinstance(one, TextSource)}
        read = {self.source: generated, **texts}
        missing = [name for name in read if not has_embeddings(self.config.data.root, name)]
        return Step(
            module,
            latent_batches(LatentShape(1, width), features, sizes.classes),
            DENOISER,
            "latent_data",
            sizes.shards,
            sample_bytes=sum(feature_bytes(source, sizes) for source in read.values()),
            embeddings=tuple(embedding_of(name, read[name], sizes) for name in missing),
        )

    def prepare(self, results: Results) -> None:
        """Embeds missing vectors and measures their mean and deviation before the training."""
        root = self.config.data.root
        image = image_source(self.config, self.source)
        embed_once([StoredFeatures(root, [self.source])], image, self.device)
        self.space = EmbeddingSpace.measured(embedding_folder(root, self.source))
        self.config = with_classes(self.config, training_split(self.config))
        self.conditioner = seeded(self.config, "conditioner")
        self.data_module = embeddings(self.config, self.space, self.conditioner, self.batch_size)
        embed_once(self.data_module.transforms, self.conditioner, self.device)
        self.encoder = dict(image.source(self.source).fingerprint())

    def determining(self) -> dict[str, Any]:
        split = self.data_module.shards(self.data_module.train_split)
        blocks = {part: plain(self.config[part]) for part in ("prior", *DENOISER)}
        return {
            "vectors": [manifest.fingerprint for manifest in split.manifests],
            "made_by": self.encoder,
            "labels": plain(self.config.latent_data.transforms.labels),
            **blocks,
            **conditions(blocks["conditioner"], self.conditioner),
        }

    def begin(self, directory: StageDirectory) -> None:
        if self.start is None:  # else they come with the weights
            measure_vectors(self.data_module, self.conditioner, directory, self.device)

    def data(self) -> ShardDataModule:
        return self.data_module

    def module(self) -> pl.LightningModule:
        return build_module(self.config, self.kind, self.space.latent_shape, self.conditioner)

    def finish(self, trained: pl.LightningModule, directory: StageDirectory) -> Saved:
        further = {"source": self.source, "made_by": self.encoder, "space": dict(self.space.state_dict())}
        return Saved(trained.state_dict(), further)


def image_source(config: DictConfig, name: str) -> Conditioner:
    """A conditioner of the generated image source alone, without its tokens.

    Raises UserError for an unknown source, or one that the prior itself is conditioned on.
    """
    if name in config.conditioner.sources:
        raise UserError(f"prior.source={name} is also in conditioner.sources: take it out, it is what is generated")
    if name not in config.conditioner.parts:
        raise UserError(f"prior.source={name} is none of the sources: {', '.join(config.conditioner.parts)}")
    alone = config.copy()
    alone.conditioner.sources = [name]
    if "tokens" in alone.conditioner.parts[name]:
        alone.conditioner.parts[name].tokens = False
    conditioner: Conditioner = seeded(alone, "conditioner")
    if not isinstance(conditioner.source(name), ImageSource):
        raise UserError(f"prior.source={name} is not an image source: give image_features, clip_image or another one")
    return conditioner


def embeddings(config: DictConfig, space: EmbeddingSpace, conditioner: Conditioner, batch_size: int) -> ShardDataModule:
    """Vectors of `prior.source` as latents, with stored features of the texts that condition them."""
    root, texts = config.data.root, [n for n in conditioner.names if isinstance(conditioner.source(n), TextSource)]
    transforms = {"latent": VectorLatent(space), "labels": build(config, "latent_data.transforms.labels")}
    if texts:
        transforms["features"] = StoredFeatures(root, texts)
    return build(
        config,
        "latent_data",
        root=embedding_folder(root, config.prior.source),
        batch_size=batch_size,
        transforms=transforms,
    )


def load_prior(path: Path, device: torch.device | str = "cpu") -> ImagePrior:
    """A finished prior from its `model.ckpt`, in evaluation mode.

    Raises:
        UserError: missing, damaged, of another stage, or its stored configuration names foreign code.
    """
    weights, label = load_run(path, PriorStage, device)
    config = plain_config(label["config"])
    with of_run(path):
        space = EmbeddingSpace(label["space"]["mean"], label["space"]["std"])
        conditioner: Conditioner = build(config, "conditioner", trusted=False)
        model = build_model(config, space.latent_shape, conditioner, trusted=False)
    load_weights(torch.nn.ModuleDict({"model": model, "conditioner": conditioner}), weights, path)
    for part in (space, conditioner, model):
        part.to(device).eval()
    with of_run(path):
        generator = build_generator(config, model, conditioner, space.latent_shape, trusted=False)
        return ImagePrior(generator, space, label["source"], dict(label["made_by"]))
