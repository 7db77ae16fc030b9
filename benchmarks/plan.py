"""Plans beside trainings on this CPU: time of a step, a validation, a checkpoint and an encoding, growth of memory.

    python benchmarks/plan.py [--steps 18] [--only planes,diffusion,sparse,picture]    # prints docs/planning.md's table

One thread; times are processor seconds, medians. Each training has a process of its own, which measures the machine's
figures before and after it by steps of four reference networks, which are none of this project's: three transformers
(one too small to compute anything: the start of a kernel; one of many tokens: the peak; one of many weights and few
tokens: the bandwidth) and a chain of convolutions (the share of the peak that they reach); and beside each checkpoint
it writes another file of that size; of both the cheapest counts. A cell is planned / measured (measured).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from machine_figures import machine, writing_speed
from omegaconf import DictConfig, OmegaConf
from overhead import latents_like

from fieldforge.configuration.build import build
from fieldforge.data.dealt_shards import DealtShards
from fieldforge.data.latent_schema import LATENT
from fieldforge.planning.bill import checkpoint_seconds
from fieldforge.planning.encoding_plan import EncodingPlan
from fieldforge.planning.estimate import StagePlan
from fieldforge.planning.plan import make_plan
from fieldforge.planning.step_cost import memory_ddp
from fieldforge.runs import large_pages
from fieldforge.runs.entry import CONFIGS
from fieldforge.stages.autoencoder_stage import AutoencoderStage
from fieldforge.stages.denoiser_parts import build_module
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.latent_stage import EncodingProcess
from fieldforge.stages.samples import sample_data
from fieldforge.stages.training_run import StepSettings, seeded, train
from fieldforge.storage.output import LocalOutput
from fieldforge.training.modules.autoencoder_module import AutoencoderModule

TRAININGS = {
    "planes": (
        "autoencoder",
        ["experiment=shape_autoencoder", "training.autoencoder.batch_size=4", "data.heldout_batch_size=4"],
    ),
    "diffusion": ("diffusion", ["experiment=shape_latent", "conditioner=none", "training.diffusion.batch_size=8"]),
    "sparse": (
        "autoencoder",
        [
            "experiment=sparse_autoencoder",
            "data=furniture_cc0",
            "training.autoencoder.batch_size=4",
            "data.heldout_batch_size=4",
        ],
    ),
    "picture": ("autoencoder", ["experiment=image_autoencoder"]),
}
SMALL = ["autoencoder.encoder.layers=1", "autoencoder.decoder.layers=1", "backbone.layers=1"]
COLUMNS = ("step", "validation", "checkpoint", "encoding", "memory")
ENCODED = 128  # samples


class Clock(pl.Callback):
    """Notes the processor time of steps, validations and checkpoints."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.writing: list[float] = []
        self.memory_counts = False
        self._since = self._ended = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        save = trainer.save_checkpoint
        trainer.save_checkpoint = partial(self._saved, save)  # type: ignore[method-assign]

    def _saved(self, save: Callable[..., None], path: str, *args: Any, **kwargs: Any) -> None:
        """Notes the seconds of a checkpoint, and how fast another file of its size is written right after it."""
        start = time.process_time()
        save(path, *args, **kwargs)
        self.seconds["checkpoint"].append(time.process_time() - start)
        if not self.memory_counts:
            self.writing.append(writing_speed(Path(path).stat().st_size, Path(path).with_suffix(".beside")))
        self._since += time.process_time() - start  # a checkpoint is no part of the step

    def on_train_batch_start(self, *args: Any) -> None:
        self._since = time.process_time()

    def on_train_batch_end(self, *args: Any) -> None:
        self._ended = time.process_time()
        self.seconds["step"].append(self._ended - self._since)

    def on_validation_end(self, *args: Any) -> None:
        self.seconds["validation"].append(time.process_time() - self._ended)


clock = Clock()


def the_clock() -> Clock:
    return clock


def memory(key: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:")]
    return int(line.split()[1]) * 1024


def configuration(words: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", words)


def take_steps(stage: str, config: DictConfig, encodes: bool) -> None:
    """Train a stage for its steps, and encode some samples with an autoencoder."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if stage == "autoencoder":
            module: Any = AutoencoderStage(config).module()
            data = sample_data(config)
        else:
            size = StepSettings.of(config, stage).batch_size
            shape = build(config, "autoencoder").latent_shape
            data = build(config, "latent_data", root=str(latents_like(config.data.root, place)), batch_size=size)
            module = build_module(config, stage, shape, seeded(config, "conditioner"))
        train(config, build(config, "monitor"), StageDirectory.of(stage, place / "run", {}), module, data, draw=None)
        if encodes and isinstance(module, AutoencoderModule):
            encode(config, module, place / "latents")


def encode(config: DictConfig, module: AutoencoderModule, folder: Path) -> None:
    """Notes the seconds in which latents are made and stored."""
    size = config.training.latents.batch_size
    work = EncodingProcess("latents", sample_data(config), build(config, "domain"), torch.device("cpu"), size)
    autoencoder = module.autoencoder.eval()
    for number in range(3):
        shards = DealtShards(LocalOutput(folder / str(number)), LATENT, {}, {"train": ENCODED}, ENCODED)
        shards.begin("output_root")
        start = time.process_time()
        shards.write(0, 1, partial(work.encoded, autoencoder))
        clock.seconds["encoding"].append(time.process_time() - start)


def serve(name: str, words: list[str]) -> None:
    """In a process of its own: figures of the machine, seconds and bytes of a training."""
    torch.set_num_threads(1)
    stage, _ = TRAININGS[name]
    before = machine()
    # What libraries take for themselves is taken by then.
    small = [word for word in SMALL if OmegaConf.select(configuration(words), word.partition("=")[0]) is not None]
    take_steps(stage, configuration([*words, *small, f"training.{stage}.batch_size=1"]), encodes=False)
    clock.seconds.clear()
    clock.writing.clear()
    start = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of what is held now
    take_steps(stage, configuration(words), encodes=False)
    grown = memory("VmHWM") - start
    if stage == "autoencoder":
        take_steps(stage, configuration([*words, f"training.{stage}.budget.max_steps=1"]), encodes=True)
    after = machine()
    figures = {key: statistics.mean((before[key], after[key])) for key in before}
    if clock.writing:
        figures["checkpoint_bandwidth"] = max(clock.writing)
    skipped = {"step": 3}  # while caches fill
    seconds = {key: statistics.median(each[skipped.get(key, 0) :]) for key, each in clock.seconds.items()}
    # Of both files the cheapest: twice the time goes where the system has no memory at hand for one.
    seconds["checkpoint"] = min(clock.seconds["checkpoint"])
    print(json.dumps({"machine": figures, "seconds": seconds, "bytes": grown}))


def planned(stage: str, words: list[str], figures: dict[str, float]) -> dict[str, float]:
    """Seconds and bytes of the plan for a machine of these figures."""
    own = [f"plan.{key}={value:g}" for key, value in figures.items()]
    before = ["autoencoder", "latents"] if stage == "diffusion" else ["autoencoder"]
    stages = ",".join([*before, stage] if stage == "diffusion" else [*before, "latents"])
    heldout = ["plan.heldout=159"] if stage == "diffusion" else []  # latents are made up, for both splits alike
    ideal = ["plan.utilisation=1", "plan.tile=1", "plan.multiprocessors=1", "plan.store_bandwidth=1e12"]
    plan = make_plan(configuration([*words, *own, *ideal, f"plan.samples={ENCODED}", *heldout, f"stages=[{stages}]"]))
    cluster = plan.cluster
    parts = {part.name: part for part in plan.stages}
    own_stage, latents = parts[stage], parts["latents"]
    assert isinstance(own_stage, StagePlan)
    assert isinstance(latents, EncodingPlan)
    bill = {one.name: one.each for one in own_stage.charges(cluster)}
    return {
        "step": own_stage.step_time(cluster).compute,
        "validation": bill["validation"],
        "checkpoint": checkpoint_seconds(own_stage.cost, cluster),
        "encoding": (latents.seconds(cluster) or 0) * ENCODED / (latents.samples or 1),
        "memory": sum(memory_ddp(own_stage.cost, 1).values()),
    }


def row(name: str, steps: int) -> str:
    stage, words = TRAININGS[name]
    words = [
        *words,
        "trainer=cpu",
        "trainer.precision=32-true",
        f"training.{stage}.budget.max_steps={steps}",
        f"training.{stage}.budget.max_minutes=null",
        "monitor.validate_every=6",
        "callbacks.checkpoints.every_steps=4",
    ]
    clocked = [*words, "+callbacks.clock._target_=__main__.the_clock"]
    measured = in_a_process(name, clocked, {})
    # The C library keeps freed blocks below a threshold; fixed, they go back, which takes time. oneDNN keeps a thousand
    # products of the sizes that it has met.
    own_alone = {"MALLOC_MMAP_THRESHOLD_": "65536", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0"}
    grown = in_a_process(name, ["--memory", *clocked, f"training.{stage}.budget.max_steps=7"], own_alone)
    paper = planned(stage, words, measured["machine"])
    found = {**measured["seconds"], "memory": grown["bytes"]}
    cells = [f"{paper[key] / found[key]:.2f} ({shown(key, found[key])})" if key in found else "" for key in COLUMNS]
    figures = measured["machine"]
    print(
        f"{name}: {figures['peak_flops'] / 1e9:.0f} GFLOP/s ({figures['float32_flops'] / 1e9:.0f} in float32), "
        f"{figures['bandwidth'] / 1e9:.1f} GB/s, convolutions "
        f"{figures['convolution_utilisation']:.0%} (float32: {figures['float32_convolution_utilisation']:.0%}), "
        f"{1e6 * figures['launch_seconds']:.1f} µs a kernel, checkpoints "
        f"{figures['checkpoint_bandwidth'] / 1e6:.0f} MB/s",
        file=sys.stderr,
    )
    return f"| {name} | {' | '.join(cells)} |"


def in_a_process(name: str, words: list[str], allocator: dict[str, str]) -> dict[str, Any]:
    """The figures that `serve` prints."""
    large_pages.install()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **allocator}
    command = [sys.executable, __file__, "--side", name, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def shown(key: str, value: float) -> str:
    return f"{value / 2**20:.0f} MiB" if key == "memory" else f"{1000 * value:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=18)
    parser.add_argument("--only", default=",".join(TRAININGS))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments, words = parser.parse_known_args()
    if arguments.side:
        clock.memory_counts = arguments.memory
        serve(arguments.side, words)
        return
    print(f"| training | {' | '.join(COLUMNS)} |\n|{'---|' * (1 + len(COLUMNS))}", flush=True)
    for name in arguments.only.split(","):
        print(row(name, arguments.steps), flush=True)


if __name__ == "__main__":
    main()
