"""Rehearsal of every stage before the first one: a mistake in the last stage would show only after hours.

It builds the settings as the training does, and networks and a step of each stage on tensors without values. It writes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.optim import Optimizer

from fieldforge.configuration.build import REFUSALS, build, call, reason_of
from fieldforge.errors import UserError
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.step import try_step
from fieldforge.stages.denoiser_parts import wants_classes
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.samples import training_split
from fieldforge.stages.stage import Stage, TrainedStage
from fieldforge.stages.training_run import build_callbacks, training_context
from fieldforge.stages.work import Sizes, Step
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.processes.hardware import Hardware


def rehearse(stages: Sequence[Stage]) -> None:
    """Take a step of each stage on tensors without values; nothing is written.

    Raises:
        UserError: a mistake in a stage's settings; the sentence names the key.
    """
    for stage in stages:
        if stage.training is not None:
            rehearse_training(stage.config, stage.training)
    sizes = sizes_of_data(stages)
    for stage in stages:
        step = stage.work(sizes)
        if isinstance(step, Step):
            with refusals(stage.config, stage.name, step.blocks), without_values():
                module = step.module()
                check_memory(step.blocks[0], module)
                if isinstance(stage, TrainedStage):
                    stage.check_module(module)
                try_step(module, step.batch(2))
        with without_values():
            sizes = stage.after(sizes)


def sizes_of_data(stages: Sequence[Stage]) -> Sizes:
    """Sizes with the data's classes, where a network has a row for each: initial weights have to fit them."""
    config = next((stage.config for stage in stages if wants_classes(stage.config)), None)
    if config is None:
        return Sizes()
    names = {name for manifest in training_split(config).manifests for name in manifest.extra.get("classes", {})}
    return Sizes(classes=tuple(sorted(names)) or Sizes.classes)


def rehearse_training(config: DictConfig, stage: str) -> None:
    """Builds the objects of `training.<stage>`, `trainer`, `callbacks` and `monitor`."""
    key = f"training.{stage}"
    nowhere = StageDirectory(stage, Path(config.output_dir) / "rehearsal", {}, "")
    context = training_context(config, nowhere)
    hardware: Hardware = build(config, "trainer")
    try:
        hardware.share(context.batch_size)
    except UserError as error:
        raise UserError(f"{key}.{error}") from error
    alone = replace(hardware, devices=1, num_nodes=1, strategy="auto")
    alone.trainer(context.clock.budget.max_steps, build_callbacks(config, context), [], nowhere.path)
    parameters = [torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))]
    rehearse_optimizer(config, f"{key}.optimizer", torch.nn.ParameterList(parameters))


def rehearse_optimizer(config: DictConfig, key: str, module: torch.nn.Module) -> None:
    """Builds a stage's optimiser. UserError for invalid settings, or an optimiser that cannot skip a step."""
    optimizer: Optimizer = build_optimizer(lambda groups: call(build(config, key), key, groups), module)
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        raise UserError(
            f"config key {key}: {type(optimizer).__name__} cannot leave out a bad step: set {key}.fused=true, or take "
            "an optimiser of torch that has it"
        )


def check_memory(block: str, module: torch.nn.Module) -> None:
    """UserError for a network whose parameters alone exceed this machine's memory."""
    there = memory()
    parts = {name: 4 * sum(p.numel() for p in part.parameters()) for name, part in module.named_children()}
    if there and sum(parts.values()) > there:
        largest = max(parts, key=lambda name: parts[name])
        raise UserError(
            f"{block}: the parameters ({largest}) take {sum(parts.values()) / 2**30:.0f} GB, "
            f"and this machine has {there / 2**30:.0f} GB: make it smaller"
        )


def memory() -> int | None:
    """Bytes of this machine's memory, or None where the system does not report them."""
    import os

    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


@contextmanager
def refusals(config: DictConfig, stage: str, parts: tuple[str, ...]) -> Iterator[None]:
    """Turns a network's errors about sizes that do not fit into sentences with configuration keys.

    Foreign parts may use operations that tensors without values do not support: the training checks them.
    """
    try:
        yield
    except UserError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException):
        return
    except REFUSALS as error:
        if "tensor subclasses" in str(error) or is_foreign([config[part] for part in parts]):
            return
        typed = [text for text in overrides() if text.lstrip("+~").startswith(parts)]
        keys = " ".join(typed) or ", ".join(parts)
        raise UserError(f"{keys}: stage {stage} cannot take a step so ({reason_of(error)}): correct it") from error


def is_foreign(node: Any) -> bool:
    """Whether a nested part comes from outside of this project."""
    if isinstance(node, DictConfig):
        target = node.get("_target_")
        inner = [node[key] for key in node if not OmegaConf.is_missing(node, key)]
        return bool(target and not str(target).startswith("fieldforge.")) or any(map(is_foreign, inner))
    return isinstance(node, ListConfig | list) and any(map(is_foreign, node))


def overrides() -> list[str]:
    """The overrides of the command line, if there was a command."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
