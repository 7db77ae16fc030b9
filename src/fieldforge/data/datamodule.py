"""The Lightning data module over exact streams, for sample shards and latent shards alike."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from fieldforge.data.heldout import HeldOut
from fieldforge.data.order import Mixing
from fieldforge.data.shards import ShardSet, open_shards
from fieldforge.data.stages import Stage
from fieldforge.data.stream import SampleStream


class TimedLoader(DataLoader):
    """A DataLoader that adds up, in `waited_seconds`, how long its user waited for batches."""

    waited_seconds: float = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            started = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self.waited_seconds += time.perf_counter() - started
            yield batch


class ShardDataModule(pl.LightningDataModule):
    """Training batches from an infinite, exact stream; validation batches from one pass over the held-out split.

    `root` is a folder of shards (or several), `batch_size` is global: all ranks together. The state that a checkpoint
    holds is `position`, the samples trained so far; it moves on when the `TrackPosition` callback sees a batch trained.
    `stages` make what a batch holds out of a stored sample (see `data/stages.py`); `heldout_stages` likewise for
    validation, by default the same ones.
    """

    def __init__(
        self,
        root: str | Path | Sequence[str | Path],
        stages: Sequence[Stage],
        batch_size: int,
        *,
        seed: int = 0,
        mixing: Mixing | None = None,
        num_workers: int = 0,
        heldout_stages: Sequence[Stage] | None = None,
        heldout_batch_size: int | None = None,
        heldout_limit: int | None = None,
        train_split: str = "train",
        heldout_split: str = "heldout",
        on_bad_shard: str = "error",
        prefetch_batches: int = 2,
    ) -> None:
        super().__init__()
        self.root = root
        self.stages = list(stages)
        self.heldout_stages = self.stages if heldout_stages is None else list(heldout_stages)
        self.batch_size, self.seed, self.mixing = batch_size, seed, mixing or Mixing()
        self.num_workers, self.prefetch_batches = num_workers, prefetch_batches
        self.heldout_batch_size, self.heldout_limit = heldout_batch_size or batch_size, heldout_limit
        self.train_split, self.heldout_split = train_split, heldout_split
        self.on_bad_shard = on_bad_shard
        self.position = 0
        self.train_loader: TimedLoader | None = None

    def shards(self, split: str) -> ShardSet:
        """Shards of a split, opened by their manifests. UserError if there are none."""
        return open_shards(self.root, split)

    def train_dataloader(self) -> TimedLoader:
        stream = SampleStream(
            self.shards(self.train_split),
            self.stages,
            seed=self.seed,
            batch_size=self.batch_size,
            mixing=self.mixing,
            position=self.position,
            rank=self._rank,
            world_size=self._world_size,
            on_bad_shard=self.on_bad_shard,
        )
        self.train_loader = self._loader(stream)
        return self.train_loader

    def val_dataloader(self) -> TimedLoader:
        return self.heldout_loader(self.heldout_split, self.heldout_stages, self.heldout_limit)

    def heldout_loader(self, split: str, stages: Sequence[Stage], limit: int | None = None) -> TimedLoader:
        """One pass over any split: each sample once, the same random choices every time."""
        return self._loader(
            HeldOut(
                self.shards(split),
                stages,
                seed=self.seed,
                batch_size=max(1, self.heldout_batch_size // self._world_size),
                rank=self._rank,
                world_size=self._world_size,
                limit=limit,
            )
        )

    def _loader(self, dataset: SampleStream | HeldOut) -> TimedLoader:
        workers = self.num_workers
        return TimedLoader(
            dataset,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=self.prefetch_batches if workers else None,
        )

    @property
    def waited_seconds(self) -> float:
        """Seconds that training has waited for batches since its loader was made."""
        return self.train_loader.waited_seconds if self.train_loader else 0.0

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.position = int(state_dict["position"])


class TrackPosition(pl.Callback):
    """Moves the data module's position on when a batch has been trained: what was only prefetched does not count."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.datamodule.position = batch["position"]  # type: ignore[attr-defined]
