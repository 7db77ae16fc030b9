"""What the framework costs: a step against the same maths in a bare PyTorch loop, and the way to the first step.

python benchmarks/overhead.py      prints `ratio: …` last, the worse one of both stages

Both sides take steps by turns in one process, a block each, so that what else the machine does slows both; compared is
the processor time of the process. The bare loop has the same model, batches of the same stream, loss, precision,
optimiser, learning rate, clipping and average of the weights, and nothing else.
"""

from __future__ import annotations

import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from fieldforge.configuration.build import build
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.heldout import HeldOut
from fieldforge.data.latent_schema import LATENT
from fieldforge.data.manifest import write_manifest
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta
from fieldforge.data.writer import ShardWriter
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.randomness import StepRandomness
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.autoencoder_stage import AutoencoderStage
from fieldforge.stages.denoiser_parts import build_module
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.samples import sample_data
from fieldforge.stages.training_run import StepSettings, seeded, train
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.modules.diffusion_module import DiffusionModule
from fieldforge.training.processes.precision import best_precision

BLOCKS = {"autoencoder": (2, 9), "diffusion": (4, 17)}  # steps in a block, pairs of blocks (the first is not counted)
LATENTS = LatentShape(768, 8)


class Turns(pl.Callback):
    """Gives the bare loop its turn after each block of the framework's steps, and notes the time of both."""

    def __init__(self, bare: Callable[[], None], steps: int) -> None:
        self.bare, self.steps = bare, steps
        self.times: list[tuple[float, float]] = []
        self._since: float | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step % self.steps:
            return
        now = time.process_time()
        for _ in range(self.steps):
            self.bare()
        after = time.process_time()
        if self._since is not None:
            self.times.append((now - self._since, after - now))
        self._since = time.process_time()


turns: dict[str, Turns] = {}


def the_turns(name: str) -> Turns:
    """What the configuration of the training names as a callback; `name` is the stage's."""
    return turns[name]


def bare_loop(
    config: DictConfig, stage: str, module: pl.LightningModule, loss_of: Callable[[Any, int], Tensor], batches: Iterator
) -> Callable[[], None]:
    """One step of a loop that an engineer would write without a framework."""
    budget = build(config, f"training.{stage}.budget")
    decay = build(config, f"training.{stage}.ema").decay
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.Optimizer)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    average = [p.detach().clone() for p in trained]
    mixed = best_precision(gpu=False) == "bf16-mixed"
    count = 0

    def step() -> None:
        nonlocal count
        batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = budget.rate(count, 0.0) * group["initial_lr"]
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = loss_of(batch, count)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        count += 1
        with torch.no_grad():
            torch._foreach_lerp_(average, trained, 1 - decay.at(count))

    return step


def autoencoder_loss(module: AutoencoderModule) -> Callable[[Any, int], Tensor]:
    return lambda batch, step: module.loss(module.autoencoder, batch, torch.Generator().manual_seed(step))[0]


def diffusion_loss(module: DiffusionModule) -> Callable[[Any, int], Tensor]:
    """Algorithm 1 of classifier-free guidance, written out."""

    def loss(batch: Any, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        x0 = batch["latent"]  # (B, T, C)
        with torch.autocast("cpu", enabled=False):
            features = module.conditioner.embed(batch)
        drop = module.conditioner.draw_drop(len(x0), generator)
        condition = module.conditioner(features, drop, batch_size=len(x0))
        uniform = StepRandomness(0, step, range(len(x0)), len(x0)).stratified()  # (B,)
        t = module.density.times(uniform, module.model.process, x0.shape[1])  # (B,)
        noise = torch.randn(x0.shape, generator=generator)  # (B, T, C)
        return module.loss(module.model, x0, noise, t, condition, module.weighting).mean()

    return loss


def latents_like(root: Any, folder: Path) -> Path:
    """Random latents with the captions and classes of the shards in `root`: a step does not look at values."""
    metas = next(iter(HeldOut(open_shards(root, "train"), [Meta()], seed=0, batch_size=10**6)))["meta"]
    entries = []
    for split in ("train", "heldout"):
        with ShardWriter(folder, LATENT, {}, 256, split) as writer:
            for number, meta in enumerate(metas):
                latent = np.random.default_rng(number).normal(size=LATENTS[:2]).astype(np.float32)
                writer.write(f"{split}-{number}", {"meta.json": meta, "latent.npy": latent})
        entries += writer.entries
    write_manifest(folder, LATENT, {}, entries)
    return folder


def compare(stage: str) -> float:
    """Processor time of a step of the framework over that of the bare loop, median over pairs of blocks."""
    steps, pairs = BLOCKS[stage]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=shape_latent", f"training.{stage}.budget.max_minutes=null",
            f"training.{stage}.budget.max_steps={steps * (pairs + 1)}", "monitor.validation_batches=0",
            "trainer.accelerator=cpu", f"+callbacks.turns._target_={__name__}.the_turns",
            f"+callbacks.turns.name={stage}"])  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        if stage == "autoencoder":
            module: Any = AutoencoderStage(config).module()
            make_data = lambda: sample_data(config)  # noqa: E731
        else:
            root = latents_like(config.data.root, Path(place) / "latents")
            size = StepSettings.of(config, stage).batch_size
            module = build_module(config, stage, LATENTS, seeded(config, "conditioner"))
            make_data = lambda: build(config, "latent_data", root=str(root), batch_size=size)  # noqa: E731
            module.conditioner.embed({"caption": sorted(captions(make_data()))})  # both find them in memory then
        other = copy.deepcopy(module)
        loss_of = autoencoder_loss(other) if stage == "autoencoder" else diffusion_loss(other)
        loader = make_data().train_dataloader()
        turns[stage] = Turns(bare_loop(config, stage, other, loss_of, iter(loader)), steps)
        run = StageDirectory.of(stage, Path(place) / "run", {})
        train(config, build(config, "monitor"), run, module, make_data(), draw=None)
    times = turns.pop(stage).times[1:]
    loader._iterator._shutdown_workers()  # type: ignore[union-attr]  # as Lightning ends those of its loaders
    ours, bare = (1000 * statistics.median(column) / steps for column in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    print(f"{stage}: a step {ours:.1f} ms, bare {bare:.1f} ms, ratio {ratio:.4f} over {len(times)} pairs of blocks")
    return ratio


def captions(data: ShardDataModule) -> set[str]:
    metas = HeldOut(data.shards("train"), [Meta()], seed=0, batch_size=10**6)
    return {caption for meta in next(iter(metas))["meta"] for caption in meta["captions"]}


def start() -> None:
    """Seconds from the start of `train.py` to the end of its first step, on the demo data."""
    import os
    import subprocess

    with tempfile.TemporaryDirectory() as place:
        mark = Path(place) / "first_step"
        command = [
            sys.executable, "train.py", "experiment=shape_latent", f"output_dir={place}",
            "+callbacks.first._target_=benchmarks.first_step.FirstStep", f"+callbacks.first.mark={mark}",
        ]  # fmt: skip
        root = CONFIGS.parent
        before, began = os.times(), time.time()
        process = subprocess.run(
            command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
        )
        after = os.times()
        if not mark.is_file():
            raise SystemExit(process.stderr)
        seconds = float(mark.read_text()) - began
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"start to first step: {seconds:.1f} s, {busy:.1f} s of processor time")


if __name__ == "__main__":
    torch.set_num_threads(1)
    start()
    print(f"ratio: {max(compare(stage) for stage in BLOCKS):.3f}")
