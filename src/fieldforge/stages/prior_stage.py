"""A prior of image embeddings: a diffusion over the stored vectors of an image source, conditioned on text.

As in DALL·E 2 (Ramesh et al. 2022, arXiv 2204.06125, section 2.2). It needs no autoencoder: its latents are the vectors
that `prepare.py embed=…` stores, and it embeds what is missing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.image import ImageSource
from fieldforge.conditioning.prior import EmbeddingSpace, VectorLatent
from fieldforge.conditioning.stored import embedding_folder
from fieldforge.conditioning.text import TextSource
from fieldforge.conditioning.transforms import StoredFeatures
from fieldforge.configuration.build import build
from fieldforge.configuration.stored import load_run, of_run, plain_config
from fieldforge.configuration.values import whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.lock import scope
from fieldforge.errors import UserError
from fieldforge.generation import ImagePrior
from fieldforge.stages.autoencoder_stage import sample_data
from fieldforge.stages.continuation import stage_directory
from fieldforge.stages.diffusion_stage import build_model, build_module, build_sampler, with_classes
from fieldforge.stages.directory import StageDirectory, load_weights
from fieldforge.stages.training_run import embed_once, measure_vectors, plain, seeded, train
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
STAGE = "prior"


@scope()
def train_prior(config: DictConfig) -> StageDirectory:
    """The directory of a finished prior: reused, resumed or trained from the start.

    Raises:
        UserError: a wrong configuration, data of another encoder, a directory that holds something else.
        Interrupted: a signal stopped it; its state is saved.
    """
    root, generated = config.data.root, config.prior.source
    image = image_source(config, generated)
    embed_once([StoredFeatures(root, [generated])], image)
    space = EmbeddingSpace.measured(embedding_folder(root, generated))
    config = with_classes(config, sample_data(config))
    conditioner: Conditioner = seeded(config, "conditioner")
    data = embeddings(config, space, conditioner)
    embed_once(data.transforms, conditioner)
    made_by = dict(image.source(generated).fingerprint())
    directory = stage_directory(
        config,
        STAGE,
        Path(config.output_dir) / config.name,
        determining(config, data, conditioner, made_by),
        build(config, f"training.{STAGE}.budget"),
    )
    if directory.finished:
        log.info("%s: finished already, reused from %s", STAGE, directory.path)
        return directory
    ranks.first_alone(lambda: directory.open(plain(config)))
    log.info("%s: in %s", STAGE, directory.path)
    measure_vectors(data, conditioner, directory)
    module = build_module(config, STAGE, space.latent_shape, conditioner)
    trained = train(config, directory, module, data, draw=None)
    further = {"source": generated, "made_by": made_by, "space": dict(space.state_dict())}
    ranks.first_alone(lambda: directory.save_model(trained.state_dict(), plain(config), **further))
    log.info("%s: finished, %s", STAGE, directory.model)
    return directory


def image_source(config: DictConfig, name: str) -> Conditioner:
    """A conditioner of the image source alone whose vectors are generated, without its tokens.

    Raises UserError for a source that is none, or that the prior is itself conditioned on.
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


def embeddings(config: DictConfig, space: EmbeddingSpace, conditioner: Conditioner) -> ShardDataModule:
    """Vectors of `prior.source` as latents, with stored features of the texts that condition them."""
    root, texts = config.data.root, [n for n in conditioner.names if isinstance(conditioner.source(n), TextSource)]
    transforms = {"latent": VectorLatent(space), "labels": build(config, "latent_data.transforms.labels")}
    if texts:
        transforms["features"] = StoredFeatures(root, texts)
    return build(
        config,
        "latent_data",
        root=str(embedding_folder(root, config.prior.source)),
        batch_size=whole_number(config, f"training.{STAGE}.batch_size"),
        transforms=transforms,
    )


def determining(
    config: DictConfig, data: ShardDataModule, conditioner: Conditioner, made_by: dict[str, Any]
) -> dict[str, Any]:
    """What this stage's result depends on."""
    parts = ("prior", "conditioner", "process", "parameterization", "loss", "weighting", "density", "backbone")
    return {
        "stage": STAGE,
        "seed": config.seed,
        "vectors": [manifest.fingerprint for manifest in data.shards(data.train_split).manifests],
        "made_by": made_by,
        "labels": plain(config.latent_data.transforms.labels),
        "encoders": conditioner.fingerprint(),
        "training": plain(config.training[STAGE]),
        **{part: plain(config[part]) for part in parts},
    }


def load_prior(path: Path, device: torch.device | str = "cpu") -> ImagePrior:
    """A finished prior from its `model.ckpt`, in evaluation mode.

    Raises:
        UserError: missing, damaged, of another stage, or its stored configuration names foreign code.
    """
    weights, label = load_run(path, STAGE, device)
    config = plain_config(label["config"])
    with of_run(path):
        space = EmbeddingSpace(label["space"]["mean"], label["space"]["std"])
        conditioner: Conditioner = build(config, "conditioner", trusted=False)
        model = build_model(config, space.latent_shape, trusted=False)
    load_weights(torch.nn.ModuleDict({"model": model, "conditioner": conditioner}), weights, path)
    for part in (space, conditioner, model):
        part.to(device).eval()
    with of_run(path):
        sampler = build_sampler(config, model, conditioner, space.latent_shape, trusted=False)
        return ImagePrior(sampler, space, label["source"], dict(label["made_by"]))
