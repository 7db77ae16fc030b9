"""Body of `train.py plan=true`: the cost of an experiment's stages, without starting any of them."""

from __future__ import annotations

import json

import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from fieldforge.configuration.build import build
from fieldforge.configuration.values import number, whole_number
from fieldforge.data.order import Mixing
from fieldforge.errors import UserError
from fieldforge.planning.estimate import Cluster, DataSide, EncodingPlan, Plan, StagePlan
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.fused_attention import cpu_formulas
from fieldforge.planning.report import text
from fieldforge.planning.step import measure_step
from fieldforge.stages.denoiser_parts import wants_classes
from fieldforge.stages.registry import stages_of
from fieldforge.stages.samples import training_split
from fieldforge.stages.stage import Encoding, Sizes, Stage, Step
from fieldforge.terminal import result
from fieldforge.training.callbacks.budget import Budget
from fieldforge.training.processes.hardware import best_precision

FORMS = ("text", "json")


def print_plan(config: DictConfig) -> None:
    """Print the plan of the stages in `config.stages` in the format of `plan.show`: true or text, or json for programs.

    Raises:
        UserError: a mistake in the configuration, or a stage that cannot be planned.
    """
    form = "text" if config.plan.show is True else config.plan.show
    if form not in FORMS:
        raise UserError(f"plan={config.plan.show}: give true for a table, or json")
    if form == "json":
        result(*json.dumps(make_plan(config).plain(), indent=2).split("\n"))
        return
    if config.trainer.accelerator == "auto" and not torch.cuda.is_available():
        hint = "trainer.accelerator=cpu plans for its processor, with plan.peak_flops= of yours."
        result(f"This machine lacks a GPU, which is planned for: {hint}", "")
    result(*text(make_plan(config)).split("\n"))


def make_plan(config: DictConfig) -> Plan:
    """The plan of all stages, without use of a directory, process or device."""
    if "distillation" in config.stages:
        raise UserError("plan: distillation takes its size from its teacher, plan the teacher's experiment instead")
    kind, precision = hardware(config)
    cluster = Cluster(
        nodes=whole_number(config, "trainer.num_nodes"),
        devices=whole_number(config, "trainer.devices"),
        peak_flops=number(config, "plan.peak_flops"),
        utilisation=number(config, "plan.utilisation"),
        bandwidth=number(config, "plan.bandwidth"),
        launch_seconds=number(config, "plan.launch_seconds"),
        cpu_flops=number(config, "plan.cpu_flops"),
        precision=precision,
        kind=kind,
    )
    sizes = data_sizes(config)
    plans: list[StagePlan | EncodingPlan] = []
    for stage in stages_of(config):
        work = stage.work(sizes)
        if isinstance(work, Encoding):
            plans.append(EncodingPlan(operations(work), sizes.samples))
        elif work is not None:
            plans.append(step_plan(config, cluster, stage, work, sizes.samples))
        with without_values():
            sizes = stage.after(sizes)
    return Plan(str(config.name), cluster, tuple(plans))


def hardware(config: DictConfig) -> tuple[str, str]:
    """("GPU" or "CPU", precision) of the trainer settings; a GPU where they leave it open."""
    kind = "CPU" if config.trainer.accelerator == "cpu" else "GPU"
    precision = config.trainer.precision
    if precision == "auto":
        precision = best_precision(gpu=False) if kind == "CPU" else "bf16-mixed"
    if str(precision) not in ("32-true", "32", "bf16-mixed", "16-mixed"):
        raise UserError(f"plan: precision {precision} is not planned, give 32-true, bf16-mixed, 16-mixed or auto")
    return kind, str(precision)


def step_plan(config: DictConfig, cluster: Cluster, stage: Stage, step: Step, samples: int | None) -> StagePlan:
    """The plan of one stage that takes steps."""
    key = f"training.{stage.training}"
    batch_size = whole_number(stage.config, f"{key}.batch_size")
    budget: Budget = build(stage.config, f"{key}.budget")
    accumulate = whole_number(config, "trainer.accumulate")
    per_device = -(-batch_size // (cluster.world * accumulate))
    mixing: Mixing = build(config, f"{step.data}.mixing")
    workers = whole_number(config, f"{step.data}.num_workers", least=0)
    heldout = max(1, int(config[step.data].heldout_batch_size or batch_size) // cluster.world)
    cost = measure_step(
        step.module,
        lambda: step.batch(per_device),
        lambda: step.batch(heldout),
        build(stage.config, f"{key}.ema").decay,
        bfloat16="mixed" in cluster.precision,
        gpu=cluster.kind == "GPU",
        checkpointing=bool(config.trainer.checkpointing),
    )
    return StagePlan(
        stage.name,
        cost,
        per_device * accumulate * cluster.world,
        batch_size,
        budget.max_steps,
        budget.max_minutes,
        budget.min_steps,
        DataSide(step.shards, samples, mixing.slots, workers),
        step.notes,
        accumulate,
    )


def data_sizes(config: DictConfig) -> Sizes:
    """Sizes of the data, if they are on this machine; `plan.samples` and `plan.shards` take precedence."""
    samples, shards = config.plan.samples, config.plan.shards
    tokens = whole_number(config, "plan.text_tokens")
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
