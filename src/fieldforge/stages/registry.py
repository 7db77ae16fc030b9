"""The registry of stages, and the stages of a training."""

from __future__ import annotations

from collections.abc import Iterable

from omegaconf import DictConfig, ListConfig, OmegaConf

from fieldforge.errors import UserError
from fieldforge.stages.autoencoder_stage import AutoencoderStage
from fieldforge.stages.classifier_stage import ClassifierStage
from fieldforge.stages.diffusion_stage import DiffusionStage
from fieldforge.stages.distillation_stage import DistillationStage
from fieldforge.stages.latent_stage import LatentStage
from fieldforge.stages.prior_stage import PriorStage
from fieldforge.stages.stage import Stage

KINDS: tuple[type[Stage], ...] = (
    AutoencoderStage,
    LatentStage,
    DiffusionStage,
    ClassifierStage,
    PriorStage,
    DistillationStage,
)
STAGES = {kind.kind: kind for kind in KINDS}


def stages_of(config: DictConfig) -> list[Stage]:
    """The stages that `config.stages` names, in order: kinds, and names of `phases`.

    Raises:
        UserError: unknown names, a stage before one that it needs, or a stage without its blocks.
    """
    names = config.stages
    if not isinstance(names, ListConfig) or not names:
        raise UserError(f"stages={names}: give a list of stages, of {', '.join(STAGES)}")
    stages: list[Stage] = []
    for name in map(str, names):
        stage = stage_of(config, name)
        lacking = [need for need in stage.needs if need not in {before.kind for before in stages}]
        if lacking:
            raise UserError(f"stages={list(names)}: {name} needs {' and '.join(lacking)} before it")
        if name in {before.name for before in stages}:
            raise UserError(f"stages={list(names)} names {name} twice: leave one out, or make it one of phases")
        check_blocks(stage)
        stage.continues = stage.kind in {before.kind for before in stages}
        stage.place = f"stage {len(stages) + 1} of {len(names)}" if len(names) > 1 else ""
        stages.append(stage)
    return stages


def check_blocks(stage: Stage) -> None:
    """UserError for a stage whose blocks the experiment does not define."""
    absent = [path for path in dict.fromkeys(stage.blocks) if OmegaConf.select(stage.config, path) is None]
    if absent:
        raise UserError(
            f"stages: {stage.name} reads {', '.join(absent)}, which this experiment has not: take one that has the "
            f"stage, or add what it lacks, +stage=… (configs/stage)"
        )


def stage_of(config: DictConfig, name: str) -> Stage:
    """One stage: of a kind, or a phase of one. UserError for an unknown name."""
    if name in STAGES:
        return STAGES[name](config)
    phases = config.get("phases") or {}
    if name not in phases:
        kinds = ", ".join([*STAGES, *phases])
        raise UserError(f"stages: there is no stage {name}: give some of {kinds}")
    block = phases[name]
    kind = block.get("of")
    if kind not in STAGES or "training" not in (block.keys() - {"of"}):
        kinds = ", ".join(STAGES)
        raise UserError(f"phases.{name} needs of=, a kind of stage ({kinds}), and training=, what changes there")

    return STAGES[kind](merged(config, block), name)


def merged(config: DictConfig, block: DictConfig) -> DictConfig:
    """The configuration of a phase: blocks with a `_target_` replace the old ones, other blocks change values.

    `training` is that of the phase's kind.
    """
    changes = {key: block[key] for key in block if key not in ("of", "training")}
    config = config.copy()
    for key, value in changes.items():
        replaces = not isinstance(value, DictConfig) or "_target_" in value
        config[key] = value if replaces else OmegaConf.merge(config[key], value)
    config.training[block.of] = OmegaConf.merge(config.training[block.of], block.training)
    return config


def kinds_of(stages: Iterable[Stage]) -> list[str]:
    """The blocks of `training` that the stages use, each once."""
    return list(dict.fromkeys(stage.training for stage in stages if stage.training is not None))
