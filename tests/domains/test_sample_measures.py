"""Samples are measured while a model trains, and a sweep may rank by what is logged."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.domains.test_image import SMALL

from fieldforge.data.shards import open_shards
from fieldforge.domains.image import ImageDomain
from fieldforge.errors import UserError
from fieldforge.metrics.distribution import frechet_distance, kernel_distance
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.train import run_training
from fieldforge.stages.conditions import conditions
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.sample_measures import training_samples
from fieldforge.training.callbacks.metrics_table import read_table

COUNT = 6


@pytest.fixture(autouse=True)
def _colours_are_the_features(monkeypatch) -> None:
    def colours(self, pictures):
        return list(pictures.unfold(2, 8, 8).unfold(3, 8, 8).mean((4, 5)).flatten(1).numpy())

    monkeypatch.setattr(ImageDomain, "_features", colours)


def test_the_last_row_is_that_of_the_finished_model(tmp_path: Path) -> None:
    words = ["experiment=image_latent", *SMALL, f"output_dir={tmp_path}", "callbacks=samples"]
    words += [f"callbacks.samples.count={COUNT}", "callbacks.samples.at_a_time=4", "callbacks.samples.steps=2"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [*words, "monitor.log_every=1"])
        done = run_training(config)["diffusion"]
    logged = read_table(done.path / "metrics.csv")[1]

    few = OmegaConf.create({"sampler": {"steps": 2}})
    generator, autoencoder, _ = load_diffusion(done.path / "model.ckpt", few)
    domain = ImageDomain(16)
    condition = conditions(domain, open_shards(config.data.root, "train"), {"caption"}, COUNT)
    latents = generator({"caption": condition["caption"]}, list(range(COUNT)), 3.0)
    generated = np.stack(domain.signatures(domain.decode(autoencoder, latents)))
    metas, truth = training_samples(domain, config.data.root)
    assert logged["samples/frechet"] == pytest.approx(frechet_distance(generated, np.stack(truth)), rel=1e-3)
    assert logged["samples/kernel"] == pytest.approx(kernel_distance(generated, np.stack(truth)), rel=1e-3)
    nearest = domain.nearest(list(generated), truth)
    names = [metas[index]["name"] == meta["name"] for index, meta in zip(nearest, condition["meta"], strict=True)]
    assert logged["samples/retrieval"] == pytest.approx(np.mean(names))


def test_a_missing_network_ends_a_training_before_its_first_step(tmp_path: Path, monkeypatch) -> None:
    def missing(self, pictures):
        raise UserError("the network is not installed")

    monkeypatch.setattr(ImageDomain, "_features", missing)
    words = ["experiment=image_latent", *SMALL, f"output_dir={tmp_path}", "callbacks=samples"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"), pytest.raises(UserError, match="is not installed"):
        run_training(compose("train", words))
    (run,) = tmp_path.glob("image_latent/*")
    assert not (run / "metrics.csv").exists()
