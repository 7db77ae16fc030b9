"""The Lightning data module over exact streams, for sample shards and latent shards alike."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from fieldforge.data import loader_workers
from fieldforge.data.cache import Cache
from fieldforge.data.heldout import HeldOut, NumberedSamples, Spans
from fieldforge.data.order import Mixing
from fieldforge.data.shards import NoSplitError, ShardSet, open_shards
from fieldforge.data.stream import SampleStream
from fieldforge.data.transforms import Transform
from fieldforge.ranges import Count, NotNegative, Seed, Whole
from fieldforge.storage import waiting
from fieldforge.storage.cloud import Patience
from fieldforge.terminal import quantity

log = logging.getLogger(__name__)


class TimedLoader(DataLoader):
    """A DataLoader that sums the time of waiting for batches in `waited_seconds`.

    Iterating raises Unfinished where a worker was killed.
    """

    waited_seconds: float = 0.0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        loader_workers.open_iterators.add(batches)
        while True:
            started = time.perf_counter()
            try:
                with waiting.for_data():
                    batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                raise loader_workers.loss_of_worker(error) or error from error
            finally:
                self.waited_seconds += time.perf_counter() - started
            yield batch


class ShardDataModule(pl.LightningDataModule):
    """Training batches from an infinite, exact stream; validation batches from one pass over the held-out split.

    Args:
        root: one or several places of shards, see `open_shards`: folder, pattern, manifest, s3://, gs://, https://.
        transforms: transforms by name, applied in order to a stored sample (see `data/transforms.py`); null: left out.
        batch_size: of the whole training step, all ranks together.
        augment: an additional transform, in training only.
        seed: of the order and of every random choice of the transforms.
        position: samples trained so far, all ranks and epochs together: the only state, saved with a checkpoint.
            Prefetched samples do not count.
        num_workers: processes that read for each training process; 0: it reads itself; "auto": 1 on a CPU, on a
            GPU by the cores and shared memory, at most 8.
        cache: where to keep remote shards; null reads the samples' byte ranges directly from the store.
        heldout_limit: the largest number of held-out samples to read.
        on_bad_shard: "error", or "skip" to continue without the samples of missing, truncated or altered shards:
            each such shard is reported once, and all are counted at the end.
        patience: minutes to wait for an object store without an answer; then the run ends with exit code 85.
    """

    def __init__(
        self,
        root: str | Path | Sequence[str | Path],
        transforms: Mapping[str, Transform | None],
        batch_size: Count,
        *,
        augment: Transform | None = None,
        seed: Seed = 0,
        position: Whole = 0,
        mixing: Mixing | None = None,
        cache: Cache | None = None,
        num_workers: Whole | Literal["auto"] = 0,
        heldout_batch_size: Count | None = None,
        heldout_limit: Count | None = None,
        train_split: str = "train",
        heldout_split: str = "heldout",
        on_bad_shard: Literal["error", "skip"] = "error",
        prefetch_batches: Count = 2,
        patience: NotNegative = 5.0,
    ) -> None:
        super().__init__()
        self.root, self.cache = root, cache
        self.transforms = [transform for transform in transforms.values() if transform is not None]
        self.train_transforms = [*self.transforms, augment] if augment else self.transforms
        self.batch_size, self.seed, self.mixing = batch_size, seed, mixing or Mixing()
        self.num_workers, self.prefetch_batches = num_workers, prefetch_batches
        self.heldout_batch_size, self.heldout_limit = heldout_batch_size or batch_size, heldout_limit
        self.train_split, self.heldout_split = train_split, heldout_split
        self.on_bad_shard, self.patience = on_bad_shard, Patience(minutes=patience)
        self.start = position
        self._processed_before = 0
        self.train_loader: TimedLoader | None = None

    def shards(self, split: str) -> ShardSet:
        """Shards of a split, opened by their manifests. UserError if there are none."""
        return open_shards(self.root, split, self.cache, patience=self.patience)

    @cached_property
    def has_heldout(self) -> bool:
        """Whether there are held-out shards: small sets, and a heldout_share of 0, have none."""
        try:
            self.shards(self.heldout_split)
        except NoSplitError:
            return False
        return True

    @property
    def shown_split(self) -> str:
        """The split for pictures: the held-out split, if there is one."""
        return self.heldout_split if self.has_heldout else self.train_split

    def train_dataloader(self) -> TimedLoader:
        stream = self.stream(
            self.batch_size, position=self.start, rank=self._rank, world_size=self._world_size, augmented=True
        )
        self._processed_before = self._processed
        self.train_loader = self._loader(stream)
        return self.train_loader

    def val_dataloader(self) -> TimedLoader:
        return self.heldout_loader(self.heldout_split, limit=self.heldout_limit)

    def heldout_loader(self, split: str, limit: int | None = None) -> TimedLoader:
        """One pass over any split: each sample once, not augmented, the same random choices every time."""
        return self._loader(
            HeldOut(
                self.shards(split),
                self.transforms,
                seed=self.seed,
                batch_size=max(1, self.heldout_batch_size // self._world_size),
                rank=self._rank,
                world_size=self._world_size,
                limit=limit,
            )
        )

    def spans_loader(
        self, split: str, spans: Sequence[tuple[int, int]], transforms: Sequence[Transform], batch_size: int
    ) -> TimedLoader:
        """Runs (first, last) of samples of a split with these transforms, in their order, see `Spans`."""
        return self._loader(Spans(self.shards(split), transforms, seed=self.seed, batch_size=batch_size, spans=spans))

    def _loader(self, dataset: SampleStream | NumberedSamples) -> TimedLoader:
        count = self._automatic_workers if self.num_workers == "auto" else self.num_workers
        return TimedLoader(
            dataset,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=count,
            pin_memory=self._on_gpu,
            persistent_workers=count > 0,
            worker_init_fn=loader_workers.begin,
            prefetch_factor=self.prefetch_batches if count else None,
            # Connections to object storage do not survive a fork.
            multiprocessing_context=loader_workers.fork_server() if count and dataset.shards.is_remote else None,
        )

    def stream(
        self,
        batch_size: int,
        *,
        position: int = 0,
        rank: int = 0,
        world_size: int = 1,
        augmented: bool = False,
    ) -> SampleStream:
        """Batches in the order of training, for one rank of several."""
        return SampleStream(
            self.shards(self.train_split),
            self.train_transforms if augmented else self.transforms,
            seed=self.seed,
            batch_size=batch_size,
            mixing=self.mixing,
            position=position,
            rank=rank,
            world_size=world_size,
            on_bad_shard=self.on_bad_shard,
        )

    @property
    def damaged_shards(self) -> list[str]:
        """Shards with samples that this rank has skipped in any of its workers."""
        stream = self.train_loader.dataset if self.train_loader is not None else None
        if not isinstance(stream, SampleStream):
            return []
        damaged = [stream.shards[shard] for shard in stream.damaged.nonzero().flatten().tolist()]
        return [f"{store.url}/{entry.name}" for store, entry in damaged]

    def teardown(self, stage: str) -> None:
        """Reports the skipped samples at the end of the training."""
        if damaged := self.damaged_shards:
            names = ", ".join(damaged[:10]) + (", …" if len(damaged) > 10 else "")
            log.warning(
                "%s had samples that could not be used; others were trained on in their places: %s",
                quantity(len(damaged), "shard"), names,
            )  # fmt: skip

    @property
    def waited_seconds(self) -> float:
        """Seconds that training has waited for batches since its loader was made."""
        return 0.0 if self.train_loader is None else self.train_loader.waited_seconds

    @property
    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    @property
    def _automatic_workers(self) -> int:
        if self.trainer is not None:
            return loader_workers.by_cores(self.trainer.num_devices, self._on_gpu)
        gpus = torch.cuda.device_count()  # latents are encoded by a process on each
        return loader_workers.by_cores(max(1, gpus), gpus > 0)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _processed(self) -> int:
        """Batches that Lightning has trained on, over all its restarts."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed if self.trainer else 0  # type: ignore

    @property
    def position(self) -> int:
        """Samples trained so far, all ranks and epochs together."""
        return self.start + (self._processed - self._processed_before) * self.batch_size

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.start = int(state_dict["position"])


def _as_it_is(batch: Any) -> Any:
    """Returns the batch unchanged: streams collate themselves, and torch would convert every value of the metadata."""
    return batch
