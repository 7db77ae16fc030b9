"""Body of `train.py plan=true`: the cost of an experiment's stages, without starting any of them."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import torch
from omegaconf import DictConfig

from fieldforge.configuration.build import build
from fieldforge.configuration.settings import read_settings
from fieldforge.errors import UserError
from fieldforge.planning.cluster import Cluster
from fieldforge.planning.collectives import Links
from fieldforge.planning.encoding_plan import EncodingPlan
from fieldforge.planning.estimate import Plan, StagePlan
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.network_work import latents_plan
from fieldforge.planning.report import text
from fieldforge.planning.settings import PlanSettings
from fieldforge.planning.step_plan import StepPlanner
from fieldforge.stages.denoiser_parts import wants_classes
from fieldforge.stages.registry import stages_of
from fieldforge.stages.samples import heldout_samples, training_split
from fieldforge.stages.settings import RunSettings
from fieldforge.stages.work import Encoding, Sizes
from fieldforge.terminal import result
from fieldforge.training.processes.hardware import Hardware
from fieldforge.training.processes.precision import best_precision


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
        result("Planned for GPUs; trainer.accelerator=cpu with plan.peak_flops= and others of yours is for CPUs.", "")
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
            batch_size = stage.encoding.batch_size
            plans.append(latents_plan(stage.name, work, batch_size, sizes.stored, sizes.sample_bytes))
        elif work is not None:
            planner = StepPlanner(trainer, cluster, stage, work, sizes)
            plans += [plan for plan in planner.features.values() if plan is not None]
            plans.append(planner.plan())
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
    links = {name: getattr(settings, f"link_{name}") for name in ("bandwidth", "latency")}
    links |= {name: getattr(settings, name) for name in ("node_bandwidth", "node_latency")}
    own = {field.name for field in fields(Cluster)} & {field.name for field in fields(PlanSettings)}
    return Cluster(
        links=Links(trainer.num_nodes, trainer.devices, **links),
        precision=precision,
        kind=kind,
        strategy="fsdp" if trainer.strategy == "fsdp" else "ddp",
        **{name: getattr(settings, name) for name in own},
    )


def data_sizes(config: DictConfig, settings: PlanSettings) -> Sizes:
    """Sizes of the data, if they are on this machine; `plan.samples` and `plan.shards` take precedence."""
    given = {name: getattr(settings, name) for name in ("samples", "heldout", "shards", "sample_bytes")}
    sizes = Sizes(classes=("?",) * 10, text_tokens=settings.text_tokens, rows=settings.rows, **given)
    try:
        split = training_split(config)
    except UserError:
        if wants_classes(config):
            raise UserError(
                "plan: the data is not here, so its classes are not known; give conditioner.classes=[…]"
            ) from None
        return sizes
    return replace(
        sizes,
        classes=tuple(split.classes) or sizes.classes,
        samples=sizes.samples or split.samples,
        heldout=sizes.heldout or heldout_samples(config),
        shards=sizes.shards or len(split),
        sample_bytes=sizes.sample_bytes or split.bytes / split.samples,
    )
