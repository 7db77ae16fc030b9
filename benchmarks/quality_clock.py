"""Held-out IoU over the processor time of a training, whose clock stands still meanwhile."""

import csv
import statistics
import time

import pytorch_lightning as pl
import torch

from fieldforge.data.heldout import HeldOut
from fieldforge.data.shape_transforms import Distances, Surface
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Transform
from fieldforge.metrics.reconstruction import volume_iou
from fieldforge.training.callbacks.context import Watcher
from fieldforge.training.callbacks.steps import StepCallback
from fieldforge.training.modules.autoencoder_module import AutoencoderModule


class HeldOutIoU(StepCallback, Watcher):
    """Adds a row to `quality.csv` of the run every so many minutes: minutes, step, mean and median IoU.

    Args:
        root: folder of shape shards.
        every_minutes: of the budget's clock.
        limit: held-out assets.
        points: that the autoencoder sees of each.
    """

    def __init__(self, root: str, every_minutes: float = 2.0, limit: int = 32, points: int = 8192):
        self.every_seconds, self.due = 60 * every_minutes, 60 * every_minutes
        transforms: list[Transform] = [Surface(points), Distances(near=1, volume=20_000)]
        shards = open_shards(root, "heldout")
        self.batches = list(HeldOut(shards, transforms, seed=0, batch_size=1, limit=limit))

    def on_step_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        clock = self.context.clock
        if clock.seconds < self.due:
            return
        minutes, before = clock.seconds / 60, time.process_time()
        self.due += self.every_seconds
        values: list[float] = []
        self.context.ema.show(pl_module, lambda module: values.extend(self._values(module)))
        with open(self.context.run / "quality.csv", "a", newline="") as file:
            row = [minutes, trainer.global_step, statistics.fmean(values), statistics.median(values)]
            csv.writer(file).writerow([f"{value:.4f}" for value in row])
        assert clock._since is not None
        clock._since += time.process_time() - before

    @torch.no_grad()
    def _values(self, module: pl.LightningModule) -> list[float]:
        assert isinstance(module, AutoencoderModule)
        values, autoencoder = [], module.autoencoder
        for batch in self.batches:
            params = autoencoder.decode(autoencoder.encode(batch["input"]))
            sdf = autoencoder.field.query(batch["volume_points"], params)["sdf"][0]
            values.append(volume_iou(sdf.numpy(), batch["volume_sdf"][0].numpy()))
        return values
