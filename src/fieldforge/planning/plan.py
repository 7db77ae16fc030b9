"""Body of `train.py plan=true`: the cost of an experiment's stages, without starting any of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from fieldforge.configuration.build import build
from fieldforge.configuration.settings import read_settings
from fieldforge.data.loader_workers import MOST
from fieldforge.data.order import Mixing
from fieldforge.errors import UserError
from fieldforge.planning.estimate import Cluster, DataSide, EncodingPlan, Plan, StagePlan
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.fused_attention import cpu_formulas
from fieldforge.planning.report import text
from fieldforge.planning.settings import PlanSettings
from fieldforge.planning.step import measure_step
from fieldforge.ranges import Count, Whole
from fieldforge.stages.denoiser_parts import wants_classes
from fieldforge.stages.registry import stages_of
from fieldforge.stages.samples import training_split
from fieldforge.stages.settings import RunSettings
from fieldforge.stages.stage import Stage, TrainedStage
from fieldforge.stages.training_run import StepSettings
from fieldforge.stages.work import Encoding, Sizes, Step
from fieldforge.terminal import result
from fieldforge.training.processes.hardware import Hardware
from fieldforge.training.processes.precision import best_precision


@dataclass(frozen=True)
class LoaderSettings:
    """The settings of a data module that a plan reads, see `ShardDataModule`."""

    num_workers: Whole | Literal["auto"]
    heldout_batch_size: Count | None
    mixing: Mixing

    def workers(self, kind: str) -> int:
        """Those of a device's process; of a GPU on a machine with many cores, where their number is open."""
        if self.num_workers == "auto":
            return MOST if kind == "GPU" else 1
        return self.num_workers


def print_plan(config: DictConfig, settings: PlanSettings) -> None:
    """Print the plan of the stages in `config.stages`, in the format of `settings.show`.

    Raises:
        UserError: a mistake in the configuration, or a stage that cannot be planned.
    """
    if settings.show == "json":
        result(*json.dumps(make_plan(config).plain(), indent=2).split("\n"))
        return
    trainer: Hardware = build(config, "trainer")
    if trainer.accelerator == "auto" and not torch.cuda.is_available():
        hint = "trainer.accelerator=cpu plans for its processor, with plan.peak_flops= of yours."
        result(f"This machine lacks a GPU, which is planned for: {hint}", "")
    result(*text(make_plan(config)).split("\n"))


def make_plan(config: DictConfig) -> Plan:
    """The plan of all stages, without use of a directory, process or device."""
    if "distillation" in config.stages:
        raise UserError("plan: distillation takes its size from its teacher, plan the teacher's experiment instead")
    settings: PlanSettings = build(config, "plan")
    trainer: Hardware = build(config, "trainer")
    cluster, sizes = cluster_of(settings, trainer), data_sizes(config, settings)
    plans: list[StagePlan | EncodingPlan] = []
    for stage in stages_of(config):
        work = stage.work(sizes)
        if isinstance(work, Encoding):
            plans.append(EncodingPlan(operations(work), sizes.samples))
        elif work is not None:
            plans.append(step_plan(trainer, cluster, stage, work, sizes.samples))
        with without_values():
            sizes = stage.after(sizes)
    return Plan(read_settings(config, RunSettings).name, cluster, tuple(plans))


def cluster_of(settings: PlanSettings, trainer: Hardware) -> Cluster:
    """The cluster of the trainer settings, with the speeds of the plan's; of GPUs where they leave it open."""
    kind, precision = "CPU" if trainer.accelerator == "cpu" else "GPU", trainer.precision
    if precision == "auto":
        precision = best_precision(gpu=False) if kind == "CPU" else "bf16-mixed"
    if precision not in ("32-true", "32", "bf16-mixed"):
        raise UserError(f"plan: precision {precision} is not planned, give 32-true, bf16-mixed or auto")
    if not isinstance(trainer.devices, int):
        raise UserError("plan: trainer.devices=auto depends on where it is trained: give how many each node will have")
    return Cluster(
        nodes=trainer.num_nodes,
        devices=trainer.devices,
        peak_flops=settings.peak_flops,
        utilisation=settings.utilisation,
        bandwidth=settings.bandwidth,
        launch_seconds=settings.launch_seconds,
        float32_flops=settings.float32_flops,
        precision=precision,
        kind=kind,
    )


def step_plan(trainer: Hardware, cluster: Cluster, stage: Stage, step: Step, samples: int | None) -> StagePlan:
    """The plan of one stage that takes steps."""
    assert stage.training is not None
    settings = StepSettings.of(stage.config, stage.training)
    batch_size, budget, accumulate = settings.batch_size, settings.budget, trainer.accumulate
    per_device = -(-batch_size // (cluster.world * accumulate))
    loader = read_settings(stage.config, LoaderSettings, step.data)
    heldout = max(1, (loader.heldout_batch_size or batch_size) // cluster.world)

    def module() -> pl.LightningModule:
        built = step.module()
        if isinstance(stage, TrainedStage):
            stage.restrict(built)
        return built

    cost = measure_step(
        module,
        lambda: step.batch(per_device),
        lambda: step.batch(heldout),
        settings.ema.decay,
        bfloat16="mixed" in cluster.precision,
        gpu=cluster.kind == "GPU",
        checkpointing=trainer.checkpointing,
    )
    return StagePlan(
        stage.name,
        cost,
        per_device * accumulate * cluster.world,
        batch_size,
        budget.max_steps,
        budget.max_minutes,
        budget.min_steps,
        DataSide(step.shards, samples, loader.mixing.slots, loader.workers(cluster.kind)),
        step.notes,
        accumulate,
    )


def data_sizes(config: DictConfig, settings: PlanSettings) -> Sizes:
    """Sizes of the data, if they are on this machine; `plan.samples` and `plan.shards` take precedence."""
    samples, shards, tokens = settings.samples, settings.shards, settings.text_tokens
    try:
        split = training_split(config)
    except UserError:
        if wants_classes(config):
            raise UserError(
                "plan: the data is not here, so its classes are not known; give conditioner.classes=[…]"
            ) from None
        return Sizes(classes=("?",) * 10, text_tokens=tokens, samples=samples, shards=shards)
    classes = tuple(split.classes) or ("?",) * 10
    return Sizes(None, classes, tokens, samples or split.samples, shards or len(split))


def operations(encoding: Encoding) -> int:
    """Floating-point operations of encoding one sample."""
    counter = FlopCounterMode(display=False, custom_mapping=cpu_formulas())
    with without_values(), torch.no_grad():
        autoencoder = encoding.autoencoder().eval().requires_grad_(False)
        example = encoding.example()
        with counter:
            autoencoder.encode(example)
    return counter.get_total_flops()
