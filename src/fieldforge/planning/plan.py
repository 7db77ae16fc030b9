"""Body of `train.py plan=true`: what the stages of an experiment will need, without starting any of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.conditioning.image import ImageSource
from fieldforge.conditioning.transforms import StoredFeatures
from fieldforge.configuration.build import build
from fieldforge.configuration.values import number, whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.order import Mixing
from fieldforge.errors import UserError
from fieldforge.planning.batches import MakeBatch, feature_widths, latent_batches, surface_batches
from fieldforge.planning.estimate import Cluster, DataSide, EncodingPlan, Plan, StagePlan
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.fused_attention import cpu_formulas
from fieldforge.planning.report import text
from fieldforge.planning.step import measure_step
from fieldforge.stages import autoencoder_stage, classifier_stage, diffusion_stage
from fieldforge.stages.latent_stage import SHARD
from fieldforge.stages.prior_stage import image_source
from fieldforge.stages.training_run import seeded
from fieldforge.training.callbacks.budget import Budget
from fieldforge.training.processes.hardware import best_precision

FORMS = ("text", "json")


@dataclass(frozen=True)
class KnownData:
    """Of the training split, as far as it is known: samples, shards, names of classes."""

    samples: int | None
    shards: int | None
    classes: tuple[str, ...]


def print_plan(config: DictConfig) -> None:
    """Print what the stages in `config.stages` need, as `plan.show` says: true or text for people, json for programs.

    Raises:
        UserError: a mistake in the configuration, or a stage that cannot be planned.
    """
    form = "text" if config.plan.show is True else config.plan.show
    if form not in FORMS:
        raise UserError(f"plan={config.plan.show}: give true for a table, or json")
    plan = make_plan(config)
    print(json.dumps(plan.plain(), indent=2) if form == "json" else text(plan))


def make_plan(config: DictConfig) -> Plan:
    """The plan of all stages. No directory, no process, no device is touched."""
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
    data = autoencoder_stage.sample_data(config)
    known = known_data(config, data)
    latent_shape = (1, 1)
    stages: list[StagePlan | EncodingPlan] = []
    for name in config.stages:
        if name == "autoencoder":
            stages += autoencoder_plan(config, cluster, data, known)
        elif name == "latents":
            operations, latent_shape = encoding(config)
            stages.append(EncodingPlan(operations, known.samples))
        elif name == "prior":
            stages.append(denoiser_plan(config, cluster, name, (1, generated_width(config)), known, known.shards))
        else:
            shards = known.shards if known.samples is None else -(-known.samples // SHARD)
            make = classifier_plan if name == "classifier" else denoiser_plan
            stages.append(make(config, cluster, name, latent_shape, known, shards))
    return Plan(str(config.name), cluster, tuple(stages))


def autoencoder_plan(
    config: DictConfig, cluster: Cluster, data: ShardDataModule, known: KnownData
) -> list[StagePlan | EncodingPlan]:
    """Nothing where a finished autoencoder is used."""
    if config.get("autoencoder_run"):
        return []
    side = DataSide(known.shards, known.samples, data.mixing.slots, data.num_workers)
    make = lambda: autoencoder_stage.build_module(config)  # noqa: E731
    return [step_plan(config, cluster, "autoencoder", make, surface_batches(data), side)]


def denoiser_plan(
    config: DictConfig, cluster: Cluster, name: str, shape: tuple[int, int], known: KnownData, shards: int | None
) -> StagePlan:
    """A diffusion over latents (T, C)."""
    config = with_classes(config, known.classes)
    conditioner: Conditioner = seeded(config, "conditioner")
    features = feature_widths(conditioner, whole_number(config, "plan.text_tokens"))
    make = lambda: diffusion_stage.build_module(config, name, shape, seeded(config, "conditioner"))  # noqa: E731
    notes = encoder_notes(config, conditioner) if name == "diffusion" else ()
    batches = latent_batches(shape, features, known.classes)
    return step_plan(config, cluster, name, make, batches, latent_side(config, known, shards), notes)


def classifier_plan(
    config: DictConfig, cluster: Cluster, name: str, shape: tuple[int, int], known: KnownData, shards: int | None
) -> StagePlan:
    """A classifier of latents (T, C)."""
    classes = list(known.classes) or ["?"] * 10
    make = lambda: classifier_stage.build_module(config, shape, classes)  # noqa: E731
    batches = latent_batches(shape, {}, classes)
    return step_plan(config, cluster, name, make, batches, latent_side(config, known, shards))


def latent_side(config: DictConfig, known: KnownData, shards: int | None) -> DataSide:
    mixing: Mixing = build(config, "latent_data.mixing")
    return DataSide(shards, known.samples, mixing.slots, whole_number(config, "latent_data.num_workers", least=0))


def hardware(config: DictConfig) -> tuple[str, str]:
    """("GPU" or "CPU", precision) that the trainer settings ask for; a GPU where they leave it open."""
    kind = "CPU" if config.trainer.accelerator == "cpu" else "GPU"
    precision = config.trainer.precision
    if precision == "auto":
        precision = best_precision(gpu=False) if kind == "CPU" else "bf16-mixed"
    if str(precision) not in ("32-true", "32", "bf16-mixed", "16-mixed"):
        raise UserError(f"plan: precision {precision} is not planned, give 32-true, bf16-mixed, 16-mixed or auto")
    return kind, str(precision)


def step_plan(
    config: DictConfig,
    cluster: Cluster,
    name: str,
    make: Callable[[], pl.LightningModule],
    batches: MakeBatch,
    data: DataSide,
    notes: tuple[str, ...] = (),
) -> StagePlan:
    """One stage that takes steps."""
    asked = whole_number(config, f"training.{name}.batch_size")
    budget: Budget = build(config, f"training.{name}.budget")
    accumulate = whole_number(config, "trainer.accumulate")
    per_device = -(-asked // (cluster.world * accumulate))
    block = config.data if name == "autoencoder" else config.latent_data
    heldout = max(1, int(block.heldout_batch_size or asked) // cluster.world)
    cost = measure_step(
        make,
        lambda: batches(per_device),
        lambda: batches(heldout),
        build(config, f"training.{name}.ema").decay,
        bfloat16="mixed" in cluster.precision,
        gpu=cluster.kind == "GPU",
        checkpointing=bool(config.trainer.checkpointing),
    )
    batch_size = per_device * accumulate * cluster.world
    return StagePlan(
        name, cost, batch_size, asked, budget.max_steps, budget.max_minutes, data, notes, accumulate
    )  # fmt: skip


def known_data(config: DictConfig, data: ShardDataModule) -> KnownData:
    """Of the data where it is here; `plan.samples` and `plan.shards` go first."""
    samples, shards = config.plan.samples, config.plan.shards
    try:
        found = data.shards(data.train_split)
    except UserError:
        return KnownData(samples, shards, ())
    classes = tuple(found.classes)
    return KnownData(samples or found.samples, shards or len(found), classes)


def with_classes(config: DictConfig, classes: tuple[str, ...]) -> DictConfig:
    """The configuration with class names, where the conditioner wants some and none are given."""
    if "class" not in config.conditioner.get("sources", []) or config.conditioner.get("classes"):
        return config
    if not classes:
        raise UserError("plan: the data is not here, so its classes are not known; give conditioner.classes=[…]")
    config = config.copy()
    config.conditioner.classes = list(classes)
    return config


def encoding(config: DictConfig) -> tuple[int, tuple[int, int]]:
    """Operations of encoding one sample, and the latents' (T, C)."""
    points, given = whole_number(config, "latents.points"), bool(config.get("autoencoder_run"))
    if given:
        config = autoencoder_stage.given_autoencoder_config(config)
    counter = FlopCounterMode(display=False, custom_mapping=cpu_formulas())
    with without_values(), torch.no_grad():
        autoencoder: Autoencoder = build(config, "autoencoder", trusted=not given)
        autoencoder.eval().requires_grad_(False)
        surface = torch.rand(1, points, 9)
        with counter:
            autoencoder.encode(surface)
    return counter.get_total_flops(), autoencoder.latent_shape


def encoder_notes(config: DictConfig, conditioner: Conditioner) -> tuple[str, ...]:
    """What of the condition is left out of the figures."""
    stages = [node for node in config.latent_data.transforms.values() if node is not None]
    stored = {
        name
        for node in stages
        if str(node.get("_target_", "")).endswith(StoredFeatures.__name__)
        for name in node.sources
    }
    live = [name for name, source in conditioner.sources.items() if hasattr(source, "encoder") and name not in stored]
    return tuple(
        f"the frozen encoder of {name!r} runs beside the training and is not counted, as its features are not stored"
        for name in live
    )


def generated_width(config: DictConfig) -> int:
    """F of the image source whose vectors a prior generates."""
    source = image_source(config, config.prior.source).source(config.prior.source)
    assert isinstance(source, ImageSource)
    return source.encoder.vector_width
