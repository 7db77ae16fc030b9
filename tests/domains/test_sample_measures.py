"""Samples are measured while a model trains, and a sweep may rank by what is logged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tests.domains.test_image import SMALL
from torch import nn

from fieldforge.conditioning import efficientnet
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.manifest import write_manifest
from fieldforge.data.shards import open_shards
from fieldforge.data.writer import ShardWriter
from fieldforge.domains.image import ImageDomain
from fieldforge.errors import UserError
from fieldforge.metrics.distribution import frechet_distance, kernel_distance
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import run_training
from fieldforge.stages.conditions import conditions
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.sample_judge import stored_samples
from fieldforge.training.callbacks.metrics_table import read_table

COUNT = 6


@pytest.fixture(autouse=True)
def _colours_are_the_features(monkeypatch) -> None:
    def colours(self, pictures):
        return list(pictures.unfold(2, 8, 8).unfold(3, 8, 8).mean((4, 5)).flatten(1).numpy())

    monkeypatch.setattr(ImageDomain, "_features", colours)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 12 pictures of 16 pixels: three classes, two names in each."""
    rng, root, entries = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "squares", []
    for split in ("train", "heldout"):
        with ShardWriter(root, IMAGE, {}, 12, split) as writer:
            for number in range(12):
                kind = ("red", "green", "blue")[number % 3]
                name, pixels = f"{kind} {number % 2}", rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
                texts = {"id": f"{split}-{number}", "name": name, "class": kind, "captions": [name], "split": split}
                origin = {"tags": [], "source": "", "licence": "", "creator": "", "captions_by_language": {}}
                writer.write(f"{split}-{number}", {"meta.json": {**texts, **origin}, "image.png": pixels})
        entries += writer.entries
    write_manifest(root, IMAGE, {}, entries, {"classes": {"red": 4, "green": 4, "blue": 4}})
    return root


@pytest.fixture(scope="module")
def autoencoder(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the pictures, trained once for all."""
    place = tmp_path_factory.mktemp("autoencoder")
    return run_training(composed(squares, place, "stages=[autoencoder]"))["autoencoder"].path


def composed(squares: Path, place: Path, *words: str) -> DictConfig:
    few = ["training.autoencoder.batch_size=4", "monitor.log_every=1"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(
            "train", ["experiment=image_latent", *SMALL, f"data.root={squares}", f"output_dir={place}", *few, *words]
        )


@pytest.fixture
def small_encoder(monkeypatch) -> None:
    """In the place of the pretrained network."""

    def patches() -> nn.Module:
        torch.manual_seed(5)
        return nn.Conv2d(3, 1280, 32, 32)

    monkeypatch.setattr(efficientnet, "_build", patches)
    monkeypatch.setattr(efficientnet, "_identity", lambda: {"backbone": "patches"})


@pytest.mark.parametrize(
    ("steered_by", "key", "label"),
    [
        (["conditioner=text"], "caption", "name"),
        (["conditioner=class"], "class", "class"),
        (["conditioner=image_features", "+embedded=stored"], "image", "name"),
        (["conditioner=image_features", "+embedded=views"], "image", "name"),
    ],
)
def test_the_last_row_is_that_of_the_finished_model(
    tmp_path: Path, squares: Path, autoencoder: Path, small_encoder: None, steered_by: list[str], key: str, label: str
) -> None:
    judged = ["split=train", "resolution=null", f"count={COUNT}", "at_a_time=4", "steps=2"]
    words = ["callbacks=judges", *(f"callbacks.judges.{one}" for one in judged)]
    words += [f"autoencoder_run={autoencoder}", "training.diffusion.batch_size=4", *steered_by]
    done = run_training(composed(squares, tmp_path, *words))["diffusion"]
    logged = read_table(done.path / "metrics.csv")[1]

    few = OmegaConf.create({"sampler": {"steps": 2}})
    generator, trained, _ = load_diffusion(done.path / "model.ckpt", few)
    assert generator.keys == {key}
    domain = ImageDomain(16)
    condition = conditions(domain, open_shards(str(squares), "train"), {key}, COUNT)
    latents = generator({key: condition[key]}, list(range(COUNT)), 3.0)
    generated = np.stack(domain.signatures(domain.decode(trained, latents)))
    metas, truth = stored_samples(domain, str(squares))
    assert logged["judge/frechet"] == pytest.approx(frechet_distance(generated, np.stack(truth)), rel=1e-3)
    assert logged["judge/kernel"] == pytest.approx(kernel_distance(generated, np.stack(truth)), rel=1e-3)
    nearest = domain.nearest(list(generated), truth)
    hits = [metas[index][label] == meta[label] for index, meta in zip(nearest, condition["meta"], strict=True)]
    assert logged[f"judge/{label}"] == pytest.approx(np.mean(hits))
    assert logged["judge/empty"] == 0
    assert all(logged[f"judge/denoising_error_{level}"] > 0 for level in ("fine", "middle", "coarse"))


def test_a_missing_network_ends_a_training_before_its_first_step(
    tmp_path: Path, squares: Path, autoencoder: Path, monkeypatch
) -> None:
    def missing(self, pictures):
        raise UserError("the network is not installed")

    monkeypatch.setattr(ImageDomain, "_features", missing)
    config = composed(squares, tmp_path, "callbacks=judges", f"autoencoder_run={autoencoder}")
    with pytest.raises(UserError, match="is not installed"):
        run_training(config)
    (run,) = tmp_path.glob("image_latent/*")
    assert not (run / "metrics.csv").exists()
