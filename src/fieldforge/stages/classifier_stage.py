"""Beside the diffusion: a classifier of noisy latents, by which sampling may be guided."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from fieldforge.configuration.build import build
from fieldforge.configuration.stored import load_run, of_run, plain_config
from fieldforge.configuration.values import whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.lock import scope
from fieldforge.diffusion.classifier import LatentClassifier, accuracy_by_noise
from fieldforge.errors import UserError
from fieldforge.rendering.pictures import write_whole
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.continuation import stage_directory
from fieldforge.stages.directory import StageDirectory, load_weights
from fieldforge.stages.training_run import build_with, plain, seeded, train
from fieldforge.training.modules.classifier_module import NOISE_LEVELS, ClassifierModule
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
STAGE = "classifier"
DRAWS = 8  # noises for each held-out latent in the final measurement


@scope()
def train_classifier(config: DictConfig, autoencoder_run: StageDirectory, latents: Path) -> StageDirectory:
    """The directory of a finished classifier: reused, resumed or trained from the start.

    `accuracy.json` in it holds the held-out accuracy at several noise levels, if there are held-out latents.

    Raises:
        UserError: a wrong configuration, a directory that holds something else.
        Interrupted: a signal stopped it; its state is saved.
    """
    data: ShardDataModule = build(
        config, "latent_data", root=str(latents), batch_size=whole_number(config, f"training.{STAGE}.batch_size")
    )
    classes = data.shards(data.train_split).classes
    if not classes:
        raise UserError(
            f"{latents}: its manifest counts no classes, so there is nothing to tell apart: prepare with classes"
        )
    determining = {
        "stage": STAGE,
        "seed": config.seed,
        "autoencoder": autoencoder_run.fingerprint,
        "latents": [part.fingerprint for part in data.shards(data.train_split).manifests],
        "classes": classes,
        "training": plain(config.training[STAGE]),
        **{part: plain(config[part]) for part in ("process", "density")},
        # What the data gives is still missing in here.
        "classifier": {key: value for key, value in plain(config.classifier).items() if value != "???"},
    }
    directory = stage_directory(
        config,
        STAGE,
        Path(config.output_dir) / config.name,
        determining,
        build(config, f"training.{STAGE}.budget"),
    )
    if directory.finished:
        log.info("%s: finished already, reused from %s", STAGE, directory.path)
        return directory
    ranks.first_alone(lambda: directory.open(plain(config)))
    log.info("%s: in %s", STAGE, directory.path)
    _, autoencoder_label = load_autoencoder(autoencoder_run.model)
    tokens, channels = manifest_shape(data)
    module = build_module(config, (tokens, channels), classes)
    trained = train(config, directory, module, data, draw=None)
    assert isinstance(trained, ClassifierModule)
    further = {"classes": classes, "latent_shape": [tokens, channels], "autoencoder": autoencoder_label["fingerprint"]}

    def finish() -> None:
        if data.has_heldout:
            report = heldout_accuracy(trained.eval(), data)
            write_whole(json.dumps(report, indent=2, ensure_ascii=False).encode(), directory.path / "accuracy.json")
            told = ", ".join(f"{share:.0%} at {level}" for level, share in report["accuracy_by_noise"].items())
            chance = 100 * report["chance"]
            log.info("%s: held-out accuracy by noise σ/α: %s (most frequent class %.0f%%)", STAGE, told, chance)
        else:
            log.info("%s: there are no held-out latents: its accuracy is not measured", STAGE)
        directory.save_model(trained.classifier.state_dict(), plain(config), **further)

    ranks.first_alone(finish)
    log.info("%s: finished, %s", STAGE, directory.model)
    return directory


def build_module(config: DictConfig, latent_shape: tuple[int, int], classes: list[str]) -> ClassifierModule:
    """A classifier of latents (T, C) and how `training.classifier` trains it."""
    tokens, channels = latent_shape
    given = {"tokens": tokens, "channels": channels, "classes": len(classes), "process": build(config, "process")}
    return ClassifierModule(
        seeded(config, "classifier", **given),
        classes,
        density=build_with(config, "density", {"tokens": tokens}),
        optimizer=build(config, f"training.{STAGE}.optimizer"),
        seed=whole_number(config, "seed", least=0),
    )


def manifest_shape(data: ShardDataModule) -> tuple[int, int]:
    """(T, C) of the stored latents."""
    batch = next(iter(data.heldout_loader(data.train_split, limit=1)))
    return tuple(batch["latent"].shape[1:])


@torch.no_grad()
def heldout_accuracy(module: ClassifierModule, data: ShardDataModule) -> dict[str, Any]:
    """Accuracy on all held-out latents at each noise level, over several noises, and of always saying the same."""
    batches = list(data.heldout_loader(data.heldout_split))
    x0 = torch.cat([batch["latent"] for batch in batches])  # (N, T, C)
    labels = torch.cat([module.labels(batch) for batch in batches])  # (N,)
    generator = torch.Generator().manual_seed(0)
    module.to("cpu")
    found = [accuracy_by_noise(module.classifier, x0, labels.cpu(), NOISE_LEVELS, generator) for _ in range(DRAWS)]
    return {
        "accuracy_by_noise": {f"{level:g}": sum(shares[level] for shares in found) / DRAWS for level in NOISE_LEVELS},
        "chance": float(labels.bincount().max() / len(labels)),
        "heldout": len(x0),
        "draws": DRAWS,
    }


def load_classifier(path: Path, device: torch.device | str = "cpu") -> tuple[LatentClassifier, dict[str, Any]]:
    """A finished classifier from its `model.ckpt`, in evaluation mode, with its label (`classes`, `autoencoder`, …).

    Raises:
        UserError: missing, damaged, of another stage, or its stored configuration names foreign code.
    """
    weights, label = load_run(path, STAGE, device)
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
