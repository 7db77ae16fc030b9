"""The autoencoder: samples → latents → the parameters of a field."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.losses import AutoencoderLoss
from fieldforge.configuration.build import build
from fieldforge.configuration.stored_config import holds, load_run, of_run, plain_config
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.transforms import Meta, Transform, apply_transforms
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.rendering.gallery import Exhibit
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.directory import MODEL, StageDirectory, load_weights, model_in
from fieldforge.stages.encoding import measure_statistics
from fieldforge.stages.initial_weights import kinds_of_steps, start_file
from fieldforge.stages.measures_of_reconstructions import MeasuresOfReconstructions
from fieldforge.stages.pretrained import place_of
from fieldforge.stages.samples import check_samples, data_fingerprint, sample_data
from fieldforge.stages.settings import PictureSettings
from fieldforge.stages.stage import Results, Saved, StageResult, TrainedStage
from fieldforge.stages.training_run import plain, seeded
from fieldforge.stages.work import Batch, Drawing, Encoding, Sizes, Step
from fieldforge.training.callbacks.context import Draw, Measure
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.processes.checkpoints import load_safely

log = logging.getLogger(__name__)


class AutoencoderStage(TrainedStage):
    """An autoencoder, trained unless a finished one is used (`finished_file`)."""

    kind = "autoencoder"
    noun = "an autoencoder"
    run_name = "autoencoder_name"
    inside = "autoencoder"
    blocks = ("domain", "data", "autoencoder", "autoencoder_loss", "training.autoencoder", "monitor.pictures")

    @property
    def training(self) -> str | None:
        return None if self.finished else self.kind

    @cached_property
    def finished(self) -> Path | None:
        """The file of the autoencoder that replaces the training."""
        return finished_file(self.config)

    def run(self, results: Results) -> StageResult:
        if self.finished:
            directory = finished_autoencoder(self.config, self.finished)
            log.info("%s: that of %s is used, none is trained", self.name, self.finished)
            return StageResult(self.name, directory.path, directory)
        return super().run(results)

    def check(self) -> None:
        if self.finished:
            autoencoder, _ = load_autoencoder(self.finished)
            check_field(autoencoder.field, build(self.config, "domain"))
        else:
            check_samples(self.config, self.data())
            _ = self.encoding  # a mistake there is met before the training

    def after(self, sizes: Sizes) -> Sizes:
        config = finished_config(self.finished) if self.finished else self.config
        shape = build(config, "autoencoder", trusted=not self.finished).latent_shape
        return Sizes(**{**vars(sizes), "latent_shape": shape})

    def work(self, sizes: Sizes) -> Step | None:
        if self.finished:
            return None
        blocks = ("autoencoder", "autoencoder_loss", "data", "domain")
        batches, notes = sample_batches(self.config), self.planned_loss()[1]
        return Step(
            lambda: self.module_of(self.planned_loss()[0]),
            batches,
            blocks,
            "data",
            sizes.shards,
            notes,
            sizes.sample_bytes,
            drawing_of_heldout(self.config, self.sheet),
            Encoding(lambda: build(self.config, "autoencoder"), input_example(self.config)),
        )

    def planned_loss(self) -> tuple[Any, tuple[str, ...]]:
        """The loss of a plan, and what it lacks (`AutoencoderLoss.planned`)."""
        loss = seeded(self.config, "autoencoder_loss")
        return loss.planned() if isinstance(loss, AutoencoderLoss) else (loss, ())

    def determining(self) -> dict[str, Any]:
        domain: Domain = build(self.config, "domain")
        return {
            "data": data_fingerprint(self.config),
            "autoencoder": plain(self.config.autoencoder),
            "autoencoder_loss": plain(self.config.autoencoder_loss),
            "input": domain.determining(),
        }

    def data(self) -> ShardDataModule:
        return sample_data(self.config, self.batch_size)

    def module(self) -> AutoencoderModule:
        return self.module_of(seeded(self.config, "autoencoder_loss"))

    def module_of(self, loss: Any) -> AutoencoderModule:
        """The module with that loss."""
        return AutoencoderModule(
            seeded(self.config, "autoencoder"),
            loss=loss,
            optimizer=build(self.config, f"{self.key}.optimizer"),
            seed=self.seed,
        )

    def model(self, module: pl.LightningModule) -> nn.Module:
        assert isinstance(module, AutoencoderModule)
        return module.autoencoder

    def check_module(self, module: pl.LightningModule) -> None:
        super().check_module(module)
        assert isinstance(module, AutoencoderModule)
        check_field(module.autoencoder.field, build(self.config, "domain"))
        if module.autoencoder.starts_from_another and self.start is None and not self.continues:
            raise UserError(
                f"{self.name}: this autoencoder stands on another one: name a finished run of that by init_from=, or "
                f"have it trained before, as experiment=furniture_autoencoder and clip_autoencoder do"
            )

    def first_module(self) -> pl.LightningModule:
        module = super().first_module()
        assert isinstance(module, AutoencoderModule)
        module.autoencoder.forget_statistics()
        return module

    def pictures(self) -> Draw:
        return pictures_of_heldout(self.config, sample_data(self.config), self.sheet)

    def measure(self) -> Measure:
        return MeasuresOfReconstructions(self.config, sample_data(self.config))

    def complete(self, trained: pl.LightningModule) -> None:
        assert isinstance(trained, AutoencoderModule)
        if trained.autoencoder.unit_variance:
            domain: Domain = build(self.config, "domain")
            size = self.encoding.batch_size
            measure_statistics(trained.autoencoder.eval(), self.data(), domain, size, self.device)

    def finish(self, trained: pl.LightningModule, directory: StageDirectory) -> Saved:
        assert isinstance(trained, AutoencoderModule)
        label = {}
        if trained.autoencoder.keeps_latents and self.start is not None:
            label["latents_of"] = self.start.fingerprint
        return Saved(trained.autoencoder.state_dict(), label)


def check_field(field: Field, domain: Domain) -> None:
    """UserError unless a field has the domain's dimensions and heads."""
    lacking = ", ".join(sorted(domain.heads - set(field.heads)))
    if lacking or field.dimensions != domain.dimensions:
        raise UserError(
            f"autoencoder.field: {type(field).__name__} answers {', '.join(field.heads)} at points of "
            f"{field.dimensions} dimensions, and the domain reads {', '.join(sorted(domain.heads))} at points of "
            f"{domain.dimensions}: choose an autoencoder of this domain"
        )


def sample_batches(config: DictConfig) -> Any:
    """Number of samples → batch with the sizes of training, from its transforms of the domain's example."""
    domain: Domain = build(config, "domain")
    fields = apply_transforms(domain.example(), sample_data(config).train_transforms, np.random.default_rng(0))
    shapes = {key: value.shape for key, value in fields.items() if isinstance(value, np.ndarray)}

    def batch(size: int) -> Batch:
        return {key: torch.rand(size, *shape) for key, shape in shapes.items()}

    return batch


def input_example(config: DictConfig) -> Callable[[], dict[str, Tensor]]:
    """Gives one sample with random numbers in the place of what the autoencoder reads: name → (1, …)."""
    domain: Domain = build(config, "domain")
    fields = apply_transforms(domain.example(), domain.input_transforms(), np.random.default_rng(0))
    return lambda: {name: torch.rand(1, *np.shape(value)) for name, value in fields.items()}


def drawing_of_heldout(config: DictConfig, sheet: PictureSettings) -> Drawing:
    """What `pictures_of_heldout` asks of the networks."""
    domain: Domain = build(config, "domain")
    example = input_example(config)

    def decode(module: pl.LightningModule) -> tuple[Field, Params]:
        assert isinstance(module, AutoencoderModule)
        fields = {name: torch.rand(sheet.count, *value.shape[1:]) for name, value in example().items()}
        return module.autoencoder.field, module.autoencoder.decode(module.autoencoder.encode(fields))

    return Drawing(sheet.count, domain.points_of_picture(sheet.resolution, sheet.size), decode)


def finished_file(config: DictConfig) -> Path | None:
    """The file of the finished autoencoder that a training uses; None where it trains one.

    `autoencoder_run` names it. So does `init_from` where a later stage starts from that model, which fits the latents
    of its own autoencoder alone.

    Raises:
        UserError: there is no finished model.
    """
    run = config.get("autoencoder_run")
    if run:
        path = model_in(place_of(str(run), "autoencoder_run"))
        if not path.is_file():
            raise UserError(
                f"autoencoder_run={run} has no finished {MODEL}: give the directory of a finished autoencoder"
            )
        return path
    start = start_file(config)
    if start is None:
        return None
    label = load_safely(start, mmap=True)["fieldforge"]
    return start if holds(label, AutoencoderStage) and label.get("stage") in kinds_of_steps(config) else None


def finished_autoencoder(config: DictConfig, path: Path) -> StageDirectory:
    """The autoencoder in a file, without a look at its training data.

    For an autoencoder inside another model, the directory is that of its own run.

    Raises:
        UserError: the file holds no autoencoder, or names a folder of its own choice.
    """
    label = load_run(path, AutoencoderStage)[1]
    if not label["fingerprint"].isalnum():
        raise UserError(f"{path}: its label is damaged, the autoencoder's fingerprint is none: use another copy of it")
    alone = not holds(load_safely(path, mmap=True)["fieldforge"], AutoencoderStage)
    own = Path(config.output_dir) / str(config.autoencoder_name) / label["fingerprint"]
    directory = path.parent if alone else own
    return StageDirectory(AutoencoderStage.kind, directory, label["config"], label["fingerprint"], file=path)


def finished_config(path: Path) -> DictConfig:
    """The stored configuration of the autoencoder in a file."""
    return plain_config(load_run(path, AutoencoderStage)[1]["config"])


def load_autoencoder(path: Path, device: torch.device | str = "cpu") -> tuple[Autoencoder, dict[str, Any]]:
    """A finished autoencoder in evaluation mode, with its label (config, fingerprint, …).

    It comes from its own `model.ckpt`, or from that of a model that contains it.

    Raises:
        UserError: missing, damaged, of another stage, or its stored configuration names foreign code.
    """
    weights, label = load_run(path, AutoencoderStage, device)
    with of_run(path):
        autoencoder: Autoencoder = build(plain_config(label["config"]), "autoencoder", trusted=False)
    load_weights(autoencoder, weights, path)
    return autoencoder.to(device).eval(), label


def pictures_of_heldout(config: DictConfig, data: ShardDataModule, settings: PictureSettings) -> Draw:
    """Draws truth and reconstruction of the first held-out samples, or of training samples if none are held out."""
    domain: Domain = build(config, "domain")
    transforms: list[Transform] = [*domain.input_transforms(), *domain.truth_transforms(), Meta()]

    def draw(module: pl.LightningModule, path: Path) -> list[Exhibit]:
        assert isinstance(module, AutoencoderModule)
        count = settings.count
        heldout = HeldOut(data.shards(data.shown_split), transforms, seed=0, batch_size=count, limit=count)
        batch = next(iter(heldout))
        outputs = domain.reconstruct(module.autoencoder, batch, settings.resolution)
        rows = domain.compare(outputs, batch, settings.size)
        names, heads = [meta["name"] for meta in batch["meta"]], list(domain.comparison_heads)
        write_picture(picture_sheet(rows, names, heads, cell=settings.size), path)
        blank = Image.new("RGB", (settings.size, settings.size))
        return [Exhibit(name, row[-1] or blank) for name, row in zip(names, rows, strict=True)]

    return draw
