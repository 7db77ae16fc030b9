"""The stage of a classifier of noisy latents, for classifier guidance."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from fieldforge.configuration.build import build
from fieldforge.configuration.stored_config import load_run, of_run, plain_config
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.diffusion.classifier import LatentClassifier, accuracy_by_noise
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.rendering.bitmaps import write_whole
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.directory import StageDirectory, load_weights
from fieldforge.stages.latent_batches import latent_batches
from fieldforge.stages.stage import NOISY_LATENTS, Results, Saved, TrainedStage
from fieldforge.stages.training_run import plain, seeded
from fieldforge.stages.work import Sizes, Step
from fieldforge.training.modules.classifier_module import NOISE_LEVELS, ClassifierModule

log = logging.getLogger(__name__)
DRAWS = 8  # noises for each held-out latent in the final measurement


class ClassifierStage(TrainedStage):
    """A classifier; `accuracy.json` beside it holds the held-out accuracy at several noise levels."""

    kind = "classifier"
    noun = "a classifier"
    needs = ("autoencoder", "latents")
    blocks = ("classifier", *NOISY_LATENTS, "training.classifier")
    label_types = {"classes": list, "latent_shape": list}
    data_module: ShardDataModule
    autoencoder_run: StageDirectory
    classes: list[str]

    def work(self, sizes: Sizes) -> Step:
        shape, classes = sizes.latent_shape, list(sizes.classes)
        assert shape is not None
        blocks = ("classifier", "process", "density")
        batch = latent_batches(shape, {}, classes)
        module = lambda: self.classifier_module(shape, classes)  # noqa: E731
        return Step(module, batch, blocks, "latent_data", sizes.shards, sample_bytes=sizes.sample_bytes)

    def prepare(self, results: Results) -> None:
        latents, self.autoencoder_run = results["latents"].path, results["autoencoder"].run
        self.data_module = build(self.config, "latent_data", root=str(latents), batch_size=self.batch_size)
        self.classes = self.data_module.shards(self.data_module.train_split).classes
        if not self.classes:
            raise UserError(
                f"{latents}: its manifest counts no classes, so there is nothing to tell apart: prepare with classes"
            )

    def determining(self) -> dict[str, Any]:
        split = self.data_module.shards(self.data_module.train_split)
        return {
            "autoencoder": self.autoencoder_run.fingerprint,
            "latents": [part.fingerprint for part in split.manifests],
            "classes": self.classes,
            **{part: plain(self.config[part]) for part in ("process", "density")},
            # What the data gives is still missing in here.
            "classifier": {key: value for key, value in plain(self.config.classifier).items() if value != "???"},
        }

    def data(self) -> ShardDataModule:
        return self.data_module

    def module(self) -> pl.LightningModule:
        return self.classifier_module(latent_shape_of(self.data_module), self.classes)

    def classifier_module(self, latent_shape: LatentShape, classes: list[str]) -> ClassifierModule:
        """A classifier of latents and how `training.classifier` trains it."""
        tokens, channels, _ = latent_shape
        process = build(self.config, "process")
        sizes = {"tokens": tokens, "channels": channels, "classes": len(classes), "process": process}
        return ClassifierModule(
            seeded(self.config, "classifier", **sizes),
            classes,
            density=build(self.config, "density"),
            optimizer=build(self.config, f"{self.key}.optimizer"),
            seed=self.seed,
        )

    def model(self, module: pl.LightningModule) -> nn.Module:
        assert isinstance(module, ClassifierModule)
        return module.classifier

    def finish(self, trained: pl.LightningModule, directory: StageDirectory) -> Saved:
        assert isinstance(trained, ClassifierModule)
        report_accuracy(trained.eval(), self.data_module, directory)
        _, label = load_autoencoder(self.autoencoder_run.model)
        shape = list(latent_shape_of(self.data_module)[:2])
        further = {"classes": self.classes, "latent_shape": shape, "autoencoder": label["fingerprint"]}
        return Saved(trained.classifier.state_dict(), further)


def latent_shape_of(data: ShardDataModule) -> LatentShape:
    """The shape of the stored latents."""
    batch = next(iter(data.heldout_loader(data.train_split, limit=1)))
    return LatentShape(*batch["latent"].shape[1:])


def report_accuracy(module: ClassifierModule, data: ShardDataModule, directory: StageDirectory) -> None:
    """Measure the held-out accuracy, log it and write `accuracy.json`; no-op without held-out latents."""
    if not data.has_heldout:
        log.info("%s: there are no held-out latents: its accuracy is not measured", directory.stage)
        return
    report = heldout_accuracy(module, data)
    write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), directory.path / "accuracy.json")
    shares = ", ".join(f"{share:.0%} at {level}" for level, share in report["accuracy_by_noise"].items())
    chance = 100 * report["chance"]
    log.info("%s: held-out accuracy by noise σ/α: %s (most frequent class %.0f%%)", directory.stage, shares, chance)


@torch.no_grad()
def heldout_accuracy(module: ClassifierModule, data: ShardDataModule) -> dict[str, Any]:
    """Accuracy on all held-out latents at each noise level, over several noises, and that of a constant answer."""
    batches = list(data.heldout_loader(data.heldout_split))
    x0 = torch.cat([batch["latent"] for batch in batches])  # (N, T, C)
    labels = torch.cat([module.labels(batch["class"]) for batch in batches])  # (N,)
    generator = torch.Generator().manual_seed(0)
    module.to("cpu")
    draws = [accuracy_by_noise(module.classifier, x0, labels, NOISE_LEVELS, generator) for _ in range(DRAWS)]
    return {
        "accuracy_by_noise": {
            f"{level:g}": float(sum(shares[level] for shares in draws)) / DRAWS for level in NOISE_LEVELS
        },
        "chance": float(labels.bincount().max() / len(labels)),
        "heldout": len(x0),
        "draws": DRAWS,
    }


def load_classifier(path: Path, device: torch.device | str = "cpu") -> tuple[LatentClassifier, dict[str, Any]]:
    """A finished classifier from its `model.ckpt`, in evaluation mode, with its label (`classes`, `autoencoder`, …).

    Raises:
        UserError: missing, damaged, of another stage, or its stored configuration names foreign code.
    """
    weights, label = load_run(path, ClassifierStage, device)
    config = plain_config(label["config"])
    with of_run(path):
        tokens, channels = label["latent_shape"]
        classifier: LatentClassifier = build(
            config,
            "classifier",
            trusted=False,
            tokens=tokens,
            channels=channels,
            classes=len(label["classes"]),
            process=build(config, "process", trusted=False),
        )
    load_weights(classifier, weights, path)
    return classifier.to(device).eval(), label
