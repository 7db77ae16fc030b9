"""What the benchmarks on picture autoencoders share: trainings by turns, a clock each, and held-out figures."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from fieldforge.autoencoder.picture_loss import PictureLoss
from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.domains.image import ImageDomain, image_of
from fieldforge.noise.randomness import StepRandomness
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.runs.entry import CONFIGS
from fieldforge.training.callbacks.budget import Budget
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.processes.precision import best_precision

AT_A_TIME = 32  # held-out pictures
SHOWN, CELL = 8, 96  # pictures on a sheet, pixels of each


def picture_config(overrides: Sequence[str]) -> DictConfig:
    """`experiment=image_autoencoder`, its batches made in this process."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", ["experiment=image_autoencoder", "data.num_workers=0", *overrides])


@dataclass
class Training:
    """One side. Its clock is processor time during its steps, so that other work slows neither side more.

    autoencoder: what an `Autoencoder` is to a loss: `field`, and batch, randomness → params, terms.
    """

    name: str
    autoencoder: Any
    loss: PictureLoss
    optimizer: torch.optim.Optimizer
    batches: Iterator[dict[str, Any]]
    budget: Budget
    seconds: float = field(default=0.0, init=False)
    steps: int = field(default=0, init=False)

    @property
    def is_over(self) -> bool:
        return self.budget.progress(self.steps, self.seconds) >= 1

    def step(self) -> float:
        """One step on the next batch; the loss."""
        batch = next(self.batches)
        began = time.process_time()
        for group in self.optimizer.param_groups:
            group["lr"] = self.budget.rate(self.steps, self.seconds) * group["initial_lr"]
        slots = range(len(batch["input"]))
        randomness = StepRandomness(0, self.steps, slots, len(slots))
        with torch.autocast("cpu", torch.bfloat16, enabled=best_precision(gpu=False) == "bf16-mixed"):
            value, _ = self.loss(self.autoencoder, batch, randomness)
        self.optimizer.zero_grad()
        value.backward()
        for weights in filter(None, (list(self.autoencoder.parameters()), list(self.loss.parameters()))):
            torch.nn.utils.clip_grad_norm_(weights, 1.0)  # an adversary's gradient by a norm of its own
        self.optimizer.step()
        self.steps += 1
        self.seconds += time.process_time() - began
        return float(value.detach())


def training(name: str, config: DictConfig, autoencoder: nn.Module, loss: PictureLoss, budget: Budget) -> Training:
    """A side with the optimiser and the data of a configuration; the order of the data is that of its seed."""
    data: ShardDataModule = build(config, "data", batch_size=config.training.autoencoder.batch_size)
    optimizer = build_optimizer(build(config, "training.autoencoder.optimizer"), autoencoder, adversary=loss)
    return Training(name, autoencoder.train(), loss.train(), optimizer, iter(data.train_dataloader()), budget)


def train_by_turns(sides: Sequence[Training]) -> None:
    """The side whose clock is behind takes the next step, until all budgets are spent."""
    reports = 0
    while active := [side for side in sides if not side.is_over]:
        side = min(active, key=lambda one: one.seconds)
        value = side.step()
        if side.seconds >= 30 * (reports + 1):
            reports += 1
            print(f"{side.name}: {side.seconds:.0f} s, step {side.steps}, loss {value:.4f}", flush=True)


@dataclass(frozen=True)
class Figures:
    """Of held-out pictures: means of PSNR in dB, SSIM and perceptual distance (see `PerceptualDistance`), and the
    Fréchet distance of the reconstructions to them.
    """

    psnr: float
    ssim: float
    perceptual: float
    frechet: float
    count: int

    @property
    def cells(self) -> list[str]:
        return [f"{self.psnr:.2f}", f"{self.ssim:.3f}", f"{self.perceptual:.4f}"]


def heldout_batches(config: DictConfig) -> Iterator[dict[str, Any]]:
    data: ShardDataModule = build(config, "data", batch_size=AT_A_TIME)
    return iter(data.heldout_loader(data.heldout_split))


@torch.no_grad()
def heldout_figures(config: DictConfig, autoencoder: Any) -> Figures:
    """Reconstructions from the latents' means, in float32."""
    domain: ImageDomain = build(config, "domain")
    rows, rebuilt_marks, true_marks = [], list[np.ndarray](), list[np.ndarray]()
    autoencoder = copy.deepcopy(autoencoder).eval()
    for batch in heldout_batches(config):
        true_marks += domain.stored_signatures(batch)
        for truth in batch["input"].split(1):
            outputs = domain.outputs(autoencoder.field, autoencoder({"input": truth}, None)[0])
            measures = domain.measure(outputs, {"input": truth})
            rows.append((measures["psnr"], measures["ssim"], measures["perceptual"]))
            rebuilt_marks += domain.signatures(outputs)
    psnr, ssim, perceptual = np.mean(rows, axis=0).tolist()
    frechet = domain.compare_sets(rebuilt_marks, true_marks)["frechet"]
    return Figures(psnr, ssim, perceptual, frechet, len(rows))


@torch.no_grad()
def heldout_sheet(config: DictConfig, autoencoders: Mapping[str, Any]) -> Image.Image:
    """The first held-out pictures, a row each: the picture, then what each autoencoder makes of it."""
    domain: ImageDomain = build(config, "domain")
    truth = next(heldout_batches(config))["input"][:SHOWN]
    columns = [[image_of(pixels) for pixels in truth]]
    for model in autoencoders.values():
        autoencoder = copy.deepcopy(model).eval()
        outputs = domain.outputs(autoencoder.field, autoencoder({"input": truth}, None)[0])
        columns.append([outputs[index].picture(CELL) for index in range(SHOWN)])
    rows = [
        [image.resize((CELL, CELL), Image.Resampling.NEAREST) for image in row] for row in zip(*columns, strict=True)
    ]
    return picture_sheet(rows, None, ["true", *(name.replace("`", "") for name in autoencoders)], cell=CELL)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
