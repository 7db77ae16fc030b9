"""Every stage once before the first of them: what is wrong with the last one would show after hours of the others.

Settings are built as they will be, networks and a step of each on tensors without values; nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.optim import Optimizer

from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.configuration.build import REFUSALS, build, call, reason_of
from fieldforge.configuration.values import check_keys, check_name, whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.errors import UserError
from fieldforge.planning.batches import feature_widths, latent_batches, surface_batches
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.step import try_step
from fieldforge.ranges import Count, GridCells, Pixels, Seed, Whole
from fieldforge.stages import autoencoder_stage, classifier_stage, diffusion_stage, distillation_stage
from fieldforge.stages.prior_stage import image_source
from fieldforge.stages.training_run import build_callbacks, seeded
from fieldforge.training.callbacks.budget import BudgetCallback
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.processes.hardware import Hardware

PLAIN_KEYS: dict[str, Any] = {
    "seed": Seed,
    "output_dir": str,
    "autoencoder_run": str | None,
    "continue_from": str | None,
    "teacher": str,
    "latents.points": Count,
    "monitor.log_every": Count,
    "monitor.validate_every": Count,
    "monitor.validation_batches": Whole,
    "monitor.pictures.shapes": Count,
    "monitor.pictures.size": Pixels,
    "monitor.pictures.resolution": GridCells,
    "plan.show": bool | Literal["json", "text"],
    "prior.source": str,
}
PARTS = {
    "autoencoder": ("autoencoder", "autoencoder_loss", "data", "latents"),
    "diffusion": ("backbone", "conditioner", "process", "parameterization", "loss", "weighting", "density"),
    "prior": ("backbone", "conditioner", "process", "parameterization", "loss", "weighting", "density"),
    "classifier": ("classifier", "process", "density"),
}
"""Stage → blocks that its networks and its step are made of."""
Shape = tuple[int, int]


def check_plain_keys(config: DictConfig) -> None:
    """UserError for the first of the keys beside all blocks that is of the wrong kind, or out of range."""
    check_keys(config, PLAIN_KEYS)
    for key in ("name", "autoencoder_name"):
        check_name(key, config[key])
    if not str(config.output_dir).strip():
        raise UserError("output_dir= is empty: give the folder that runs lie in")


def rehearse(config: DictConfig) -> None:
    """Build all stages in `config.stages`, and take a step of each, without values and without writing anything.

    Raises:
        UserError: what a stage would stumble over in its settings; names the key.
    """
    for stage in trained(config):
        rehearse_training(config, stage)
    if "distillation" in config.stages:
        distillation_stage.rehearse(config)
        return
    batches = surface_batches(checked_data(config))
    shape: Shape | None = None
    with without_values():
        for stage in config.stages:
            with refusals(config, "autoencoder" if stage == "latents" else stage):
                if stage == "autoencoder":
                    shape = rehearse_autoencoder(config, batches(2))
                elif stage == "classifier" and shape:
                    rehearse_step(
                        config,
                        stage,
                        classifier_stage.build_module(config, shape, ["?", "!"]),
                        latent_batches(shape, {}, ["?"])(2),
                    )
                elif stage == "diffusion" and shape:
                    rehearse_denoiser(config, stage, shape)
                elif stage == "prior":
                    source: Any = image_source(config, config.prior.source).source(config.prior.source)
                    rehearse_denoiser(config, stage, (1, source.encoder.vector_width))


def trained(config: DictConfig) -> list[str]:
    """The stages that take steps, by the names under which `config.training` has them."""
    named = ["diffusion" if stage == "distillation" else stage for stage in config.stages]
    given = bool(config.get("autoencoder_run"))
    return [stage for stage in named if stage in config.training and not (given and stage == "autoencoder")]


def rehearse_training(config: DictConfig, stage: str) -> None:
    """What `training.<stage>`, `trainer`, `callbacks` and `monitor` make of a stage."""
    key = f"training.{stage}"
    budget, ema, guard = (build(config, f"{key}.{part}") for part in ("budget", "ema", "gradients"))
    hardware: Hardware = build(config, "trainer")
    batch_size = whole_number(config, f"{key}.batch_size")
    try:
        hardware.share(batch_size)
    except UserError as error:
        raise UserError(f"{key}.{error}") from error
    nowhere = Path(config.output_dir) / "rehearsal"
    context = {"clock": BudgetCallback(budget), "ema": ema, "guard": guard, "fingerprint": "", "batch_size": batch_size}
    further = {"directory": nowhere, "draw": lambda module, path: None, "name": stage, "label": {}}
    callbacks = build_callbacks(config, {**context, **further}, {})
    alone = replace(hardware, devices=1, num_nodes=1, strategy="auto")
    alone.trainer(budget.max_steps, callbacks, [], nowhere)
    parameters = [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))]
    rehearse_optimizer(config, f"{key}.optimizer", torch.nn.ParameterList(parameters))


def rehearse_optimizer(config: DictConfig, key: str, module: torch.nn.Module) -> None:
    """The optimiser of a stage. UserError for settings that it refuses, or one that cannot leave out a step."""
    optimizer: Optimizer = build_optimizer(lambda groups: call(build(config, key), key, groups), module)
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        raise UserError(
            f"config key {key}: {type(optimizer).__name__} cannot leave out a bad step: set {key}.fused=true, or take "
            "an optimiser of torch that has it"
        )


def checked_data(config: DictConfig) -> ShardDataModule:
    """The data module of samples. UserError unless what lies at `data.root` are samples."""
    data = autoencoder_stage.sample_data(config)
    autoencoder_stage.check_samples(config, data)
    return data


def rehearse_autoencoder(config: DictConfig, batch: dict[str, Any]) -> Shape:
    """(T, C) of the latents of the autoencoder that is trained, or given."""
    if config.get("autoencoder_run"):
        stored = autoencoder_stage.given_autoencoder_config(config)
        return build(stored, "autoencoder", trusted=False).latent_shape
    module = autoencoder_stage.build_module(config)
    rehearse_step(config, "autoencoder", module, batch)
    return module.autoencoder.latent_shape


def rehearse_denoiser(config: DictConfig, stage: str, shape: Shape) -> None:
    """A diffusion over latents (T, C) under the configuration's conditioner."""
    classes: Sequence[str] = config.conditioner.get("classes") or ["?"]
    if "class" in config.conditioner.get("sources", []):
        config = config.copy()
        config.conditioner.classes = list(classes)
    conditioner: Conditioner = seeded(config, "conditioner")
    batch = latent_batches(shape, feature_widths(conditioner, text_tokens=8), classes)(2)
    rehearse_step(config, stage, diffusion_stage.build_module(config, stage, shape, conditioner), batch)


def rehearse_step(config: DictConfig, stage: str, module: pl.LightningModule, batch: dict[str, Any]) -> None:
    """The forward pass of a step."""
    assert callable(module.configure_optimizers)
    check_memory(stage, module)
    try_step(module, batch)


def check_memory(stage: str, module: torch.nn.Module) -> None:
    """UserError for a network whose parameters alone are more than this machine has memory for."""
    there = memory()
    parts = {name: 4 * sum(p.numel() for p in part.parameters()) for name, part in module.named_children()}
    if there and sum(parts.values()) > there:
        largest = max(parts, key=lambda name: parts[name])
        raise UserError(
            f"{' and '.join(PARTS[stage][:1])}: the parameters ({largest}) take {sum(parts.values()) / 2**30:.0f} GB, "
            f"and this machine has {there / 2**30:.0f} GB: make it smaller"
        )


def memory() -> int | None:
    """Bytes of this machine's memory, where the system tells."""
    import os

    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


@contextmanager
def refusals(config: DictConfig, stage: str) -> Iterator[None]:
    """What networks say of sizes that do not fit each other becomes a sentence with their keys.

    Parts from outside of this project may do what tensors without values cannot: these are left for the training.
    """
    try:
        yield
    except UserError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException):
        return
    except REFUSALS as error:
        if "tensor subclasses" in str(error) or is_foreign([config[part] for part in PARTS[stage]]):
            return
        typed = [text for text in overrides() if text.lstrip("+~").startswith(PARTS[stage])]
        keys = " ".join(typed) or ", ".join(PARTS[stage])
        raise UserError(f"{keys}: stage {stage} cannot take a step so ({reason_of(error)}): correct it") from error


def is_foreign(node: Any) -> bool:
    """Whether a part below comes from outside of this project."""
    if isinstance(node, DictConfig):
        target = node.get("_target_")
        inner = [node[key] for key in node if not OmegaConf.is_missing(node, key)]
        return bool(target and not str(target).startswith("fieldforge.")) or any(map(is_foreign, inner))
    return isinstance(node, ListConfig | list) and any(map(is_foreign, node))


def overrides() -> list[str]:
    """What was typed, where a command was."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
