"""The data module under Lightning: counts trained batches, resumes exactly, also with another layout."""

import multiprocessing
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.data.make import write_latents

from fieldforge.data import loader_workers
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.transforms import Labels, Latent, Meta


class Recorder(pl.LightningModule):
    """Trains one number and remembers which samples it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[str]] = []
        self.validated: list[str] = []

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        self.seen.append([meta["id"] for meta in batch["meta"]])
        return (self.weight - batch["latent"].mean()).square()

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        self.validated += [meta["id"] for meta in batch["meta"]]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data(folder: Path, **options: Any) -> ShardDataModule:
    transforms = {"latent": Latent(), "meta": Meta(), "nothing": None, "labels": Labels()}
    return ShardDataModule(folder, transforms, **{"batch_size": 4, "heldout_split": "train", **options})


def train(module: Recorder, datamodule: ShardDataModule, steps: int, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        check_val_every_n_epoch=None,
        val_check_interval=5,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=datamodule, weights_only=True, **options)
    return trainer


@pytest.mark.parametrize(("workers", "then"), [(0, 0), (2, 2), (1, 3), (2, 0)])
@pytest.mark.filterwarnings("ignore")
def test_resumed_training_goes_on_where_it_was(tmp_path: Path, workers: int, then: int) -> None:
    write_latents(tmp_path / "shards", 10, 3)
    whole, first, second = Recorder(), Recorder(), Recorder()
    datamodule = data(tmp_path / "shards", num_workers=workers)
    train(whole, datamodule, 8)
    assert datamodule.position == 32
    assert datamodule.waited_seconds > 0
    trainer = train(first, data(tmp_path / "shards", num_workers=workers), 3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["ShardDataModule"] == {"position": 12}
    resumed = data(tmp_path / "shards", num_workers=then)
    train(second, resumed, 8, ckpt_path=tmp_path / "last.ckpt")
    assert first.seen + second.seen == whole.seen
    assert torch.equal(second.weight, whole.weight)
    assert resumed.position == 32
    assert whole.validated == [f"s{number:06d}" for number in range(10)]


@pytest.mark.filterwarnings("ignore")
def test_resumed_with_another_batch_size_sees_the_rest_of_the_epoch(tmp_path: Path) -> None:
    write_latents(tmp_path / "shards", 12, 3)
    first, second = Recorder(), Recorder()
    train(first, data(tmp_path / "shards"), 1).save_checkpoint(tmp_path / "last.ckpt")
    resumed = data(tmp_path / "shards", batch_size=2)
    train(second, resumed, 5, ckpt_path=tmp_path / "last.ckpt")
    seen = [key for batch in first.seen + second.seen for key in batch]
    assert sorted(seen) == [f"s{number:06d}" for number in range(12)]
    assert resumed.position == 12


def test_ranks_share_batches_and_heldout_samples(tmp_path: Path) -> None:
    write_latents(tmp_path, 12, 3)
    seen, validated = [], []
    for rank in range(2):
        datamodule = data(tmp_path)
        progress = SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(processed=0)))
        datamodule.trainer = SimpleNamespace(  # type: ignore[assignment]
            global_rank=rank,
            world_size=2,
            num_devices=2,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
            fit_loop=SimpleNamespace(epoch_loop=progress),
        )
        seen += [meta["id"] for batch in islice(datamodule.train_dataloader(), 3) for meta in batch["meta"]]
        validated += [meta["id"] for batch in datamodule.val_dataloader() for meta in batch["meta"]]
    assert sorted(seen) == sorted(validated) == [f"s{number:06d}" for number in range(12)]


def test_signals_to_the_process_group_leave_the_workers_alone(tmp_path: Path) -> None:
    write_latents(tmp_path, 12, 6)
    before = set(multiprocessing.active_children())
    batches = iter(data(tmp_path, num_workers=1).train_dataloader())
    next(batches)
    [worker] = set(multiprocessing.active_children()) - before
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(worker.pid, number)
    assert len([next(batches) for _ in range(8)]) == 8
    assert worker.is_alive()


@pytest.mark.parametrize(
    ("cores", "own", "processes", "megabytes", "workers"),
    [
        (16, 16, 1, 8192, 8),
        (16, 16, 4, 8192, 3),
        (16, 4, 4, 8192, 3),
        (2, 2, 1, 8192, 1),
        (2, 2, 2, 8192, 1),
        (64, 64, 8, 32768, 7),
        (64, 64, 8, 8192, 4),  # by shared memory
        (16, 16, 1, 64, 1),  # in a container
    ],
)
def test_workers_by_cores(monkeypatch, cores, own, processes, megabytes, workers):
    monkeypatch.setattr(loader_workers.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(loader_workers.os, "sched_getaffinity", lambda _: set(range(own)))
    monkeypatch.setattr(loader_workers.os.path, "isdir", lambda _: True)
    monkeypatch.setattr(loader_workers.shutil, "disk_usage", lambda _: SimpleNamespace(free=megabytes * 2**20))
    assert loader_workers.by_cores(processes, gpu=True) == workers
    assert loader_workers.by_cores(processes, gpu=False) == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_number_of_workers_is_by_the_device(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loader_workers, "by_cores", lambda processes, gpu: 10 * processes + gpu)
    write_latents(tmp_path, 4, 2)
    automatic = data(tmp_path, num_workers="auto")
    assert automatic.val_dataloader().num_workers == 10
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert automatic.val_dataloader().num_workers == 41, "it is encoded by a process on each"
    device = SimpleNamespace(root_device=torch.device("cpu"))
    automatic.trainer = SimpleNamespace(global_rank=0, world_size=6, num_devices=3, strategy=device)  # type: ignore
    assert automatic.val_dataloader().num_workers == 30
    device.root_device = torch.device("cuda", 1)
    assert automatic.val_dataloader().num_workers == 31


def test_workers_for_remote_shards_find_their_modules_imported(tmp_path: Path) -> None:
    code = """
if __name__ == "__main__":
    from fieldforge.data import loader_workers
    with loader_workers.fork_server().Pool(1) as pool:
        print(pool.apply(eval, ("'pytorch_lightning' in __import__('sys').modules",)))
"""
    (tmp_path / "main.py").write_text(code)
    run = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True", run.stderr
