"""Progressive distillation of a finished diffusion model to few steps: each phase is a diffusion run."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from fieldforge.configuration.build import build
from fieldforge.configuration.settings import read_settings
from fieldforge.configuration.stored_config import is_local, load_run, of_run, plain_config
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.manifest import MANIFEST_NAME
from fieldforge.data.shards import open_shards
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.distillation import student_intervals
from fieldforge.diffusion.guidance.baked import Baked
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.sampler import Sampler
from fieldforge.errors import UserError
from fieldforge.stages.diffusion_stage import DiffusionStage, load_diffusion
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.encoding import embed_once
from fieldforge.stages.locate import find_model
from fieldforge.stages.prompt_pictures import pictures_of_prompts
from fieldforge.stages.settings import DistillationSettings
from fieldforge.stages.stage import Results, Saved, Stage, StageResult, TrainedStage
from fieldforge.stages.training_run import plain
from fieldforge.storage.store import names_elsewhere
from fieldforge.terminal import quantity
from fieldforge.training.callbacks.context import Draw
from fieldforge.training.modules.distillation_module import DistillationModule

log = logging.getLogger(__name__)
OWN = (
    "name",
    "output_dir",
    "init_from",
    "frozen",
    "continue_from",
    "seed",
    "trainer",
    "logger",
    "callbacks",
    "monitor",
    "sampler",
)


@dataclass(frozen=True)
class Phase:
    """A phase: a student with `steps` steps, each of `substeps` teacher steps, trained for a `share` of the budget."""

    steps: int
    substeps: int
    share: float


class DistillationStage(Stage):
    """All phases in order; the result is the last phase's student."""

    kind = "distillation"
    noun = "a distillation"
    blocks = ("distillation", "latent_data", "sampler", "weighting", "training.diffusion", "monitor.pictures")

    @property
    def training(self) -> str | None:
        """Its students are diffusion models."""
        return DiffusionStage.kind

    def check(self) -> None:
        """UserError for a mistake in the settings of any phase. Nothing is written."""
        plan = planned(self.config)
        process = build(OmegaConf.create(plan.label["config"]), "process", trusted=False)
        for phase in plan.phases:
            own = student_config(self.config, plan.label["config"], plan.latents, phase, plan.scale)
            build(own, "latent_data", trusted=False, batch_size=1)
            build(own, "weighting")
            nested_times(build(own, "sampler"), phase.steps, phase.substeps, process)

    def run(self, results: Results) -> StageResult:
        """Raises UserError for a missing teacher, or one without its latents."""
        plan = planned(self.config)
        teacher, guidance = plan.teacher, plan.guidance
        for phase in plan.phases:
            student = StudentStage(self.config, teacher, plan, phase, guidance)
            student.place = self.place
            result = student.run({})
            teacher, guidance = result.run.model, Baked(plan.scale, plan.scale)
        return result


@dataclass(frozen=True)
class Planned:
    """The inputs of a distillation: `model.ckpt` of the teacher, its label, the folder of its latents, the phases."""

    teacher: Path
    label: dict[str, Any]
    latents: str
    phases: list[Phase]
    scale: float

    @property
    def guidance(self) -> Guidance:
        """The teacher's guidance in the first phase."""
        return ClassifierFree(self.scale)


def planned(config: DictConfig) -> Planned:
    """The inputs of a distillation, checked before the first phase.

    Raises:
        UserError: no such teacher, a teacher without its latents, or impossible numbers of steps.
    """
    teacher, _ = find_model(str(config.teacher), config.output_dir, DiffusionStage.kind, key="teacher")
    _, label = load_run(teacher, DiffusionStage)
    if "distillation" in label["config"]:
        raise UserError(f"teacher={config.teacher} is distilled already: give the run it was distilled from")
    conditional = bool(OmegaConf.select(plain_config(label["config"]), "conditioner.sources"))
    settings = read_settings(config, DistillationSettings, "distillation")
    scale = float(settings.guidance) if conditional else 1.0
    phases = phases_of(settings, guided=scale != 1)
    latents = str(config.latent_data.root or latents_of(teacher, label, config.output_dir))
    return Planned(teacher, label, latents, phases, scale)


def phases_of(settings: DistillationSettings, guided: bool) -> list[Phase]:
    """Phases of the settings. A phase with the teacher's number of steps is left out unless the teacher is guided.

    Raises:
        UserError: numbers of steps that do not divide each other.
    """
    before, steps = settings.teacher_steps, settings.steps
    phases = []
    for place, (fewer, share) in enumerate(zip(steps, settings.shares, strict=True)):
        if fewer == before and place > 0:
            raise UserError(f"distillation.steps={steps}: {fewer} steps are no fewer than {before}: leave one out")
        if before % fewer:
            raise UserError(f"distillation: {before} steps are no multiple of {fewer}: choose others")
        if guided or fewer < before:
            phases.append(Phase(fewer, before // fewer, share))
        before = fewer
    if not phases:
        raise UserError(f"distillation.steps={steps} are the teacher's, without guidance to learn: give fewer")
    whole = sum(phase.share for phase in phases)
    return [replace(phase, share=phase.share / whole) for phase in phases]


class StudentStage(TrainedStage):
    """The student of one phase: a diffusion model that learns to replace `substeps` teacher steps by one."""

    kind = DiffusionStage.kind
    noun = DiffusionStage.noun
    label_types = DiffusionStage.label_types
    data_module: ShardDataModule

    def __init__(self, config: DictConfig, teacher: Path, plan: Planned, phase: Phase, guidance: Guidance):
        self.teacher, self.phase, self.guidance, self.scale = teacher, phase, guidance, plan.scale
        self.generator, self.autoencoder, self.label = load_diffusion(teacher)
        with of_run(teacher):
            super().__init__(student_config(config, self.label["config"], plan.latents, phase, plan.scale))
        self.label_name = f"distillation to {quantity(phase.steps, 'step')}"

    def has_start(self, module: pl.LightningModule) -> bool:
        """True: a student starts from its teacher's weights."""
        return True

    def prepare(self, results: Results) -> None:
        with of_run(self.teacher):
            self.data_module = build(self.config, "latent_data", trusted=False, batch_size=self.batch_size)

    def determining(self) -> dict[str, Any]:
        split = self.data_module.shards(self.data_module.train_split)
        return {
            "teacher": self.label["fingerprint"],
            "latents": [manifest.fingerprint for manifest in split.manifests],
            **{part: plain(self.config[part]) for part in ("distillation", "sampler", "weighting")},
        }

    def begin(self, directory: StageDirectory) -> None:
        embed_once(self.data_module.transforms, self.generator.conditioner, self.device)

    def data(self) -> ShardDataModule:
        return self.data_module

    @cached_property
    def times(self) -> Any:
        """The teacher's times, which include the student's."""
        sampler: Sampler = build(self.config, "sampler")
        return nested_times(sampler, self.phase.steps, self.phase.substeps, self.generator.model.process)

    def module(self) -> pl.LightningModule:
        return DistillationModule(
            copy.deepcopy(self.generator.model).train(),
            self.generator.conditioner,
            self.generator.model,
            self.guidance,
            student_intervals(self.times, self.phase.substeps),
            weighting=build(self.config, "weighting"),
            optimizer=build(self.config, f"{self.key}.optimizer"),
            seed=self.seed,
        )

    def pictures(self) -> Draw | None:
        if "image" in self.generator.keys and not is_local(self.label["config"]):
            log.warning("warning: the teacher's data.root is no folder here, so no pictures are drawn in training")
            return None  # they would show pictures from the teacher's data.root
        settings = replace(self.sheet, steps=self.phase.steps, scale=self.scale)
        return pictures_of_prompts(self.config, self.data_module, self.autoencoder, settings)

    def finish(self, trained: pl.LightningModule, directory: StageDirectory) -> Saved:
        label = {name: self.label[name] for name in ("autoencoder", "autoencoder_state_dict", "encoders")}
        return Saved(trained.state_dict(), label)


def student_config(config: DictConfig, teacher: dict[str, Any], latents: str, phase: Phase, scale: float) -> DictConfig:
    """The teacher's configuration with this one's training and sampler, for the phase's share of the budget."""
    own, mine = plain_config(teacher), plain(config)
    for key in OWN:
        own[key] = mine[key]
    own.weighting, own.training[DiffusionStage.kind] = mine["weighting"], mine["training"][DiffusionStage.kind]
    budget = own.training[DiffusionStage.kind].budget
    budget.max_steps = max(1, round(budget.max_steps * phase.share))
    budget.min_steps = round(budget.min_steps * phase.share)
    if budget.max_minutes is not None:
        budget.max_minutes *= phase.share
    own.sampler.steps = phase.steps
    own.latent_data.root = latents
    own.guidance = {"_target_": f"{Baked.__module__}.{Baked.__qualname__}", "scale": scale, "distilled": scale}
    own.distillation = {"steps": phase.steps, "substeps": phase.substeps, "guidance": scale}
    return own


def nested_times(sampler: Sampler, steps: int, substeps: int, process: Any) -> Any:
    """Times (steps · substeps + 1,) of the teacher. UserError unless they include the student's times."""
    times = sampler.spacing.times(steps * substeps, process)
    if not times[::substeps].allclose(sampler.spacing.times(steps, process), rtol=1e-6, atol=1e-9):
        raise UserError(
            f"sampler.spacing: the times of {steps} steps are not among those of {steps * substeps}: take "
            "sampler=distilled, or spacing Uniform"
        )
    return times


def latents_of(model: Path, label: dict[str, Any], output_dir: str) -> Path:
    """Folder of the latents that a diffusion model was trained on, below its autoencoder.

    Raises:
        UserError: the latents are missing.
    """
    stored, fingerprint = label["config"], label["autoencoder"]["fingerprint"]
    run = Path(output_dir) / str(stored.get("autoencoder_name")) / fingerprint
    runs = [Path(str(stored["autoencoder_run"])), run] if stored.get("autoencoder_run") else [run]
    for place in runs:
        if names_elsewhere(str(place)):
            raise UserError(f"{model} names {place} as its autoencoder, no folder here: give latent_data.root=")
    file = model.with_name("fingerprint.json")
    try:
        wanted = json.loads(file.read_bytes()).get("latents") if file.is_file() else None
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is damaged: delete it, or give latent_data.root=") from error
    for manifest in sorted(path for place in runs for path in place.glob(f"latents/*/{MANIFEST_NAME}")):
        fingerprints = [part.fingerprint for part in open_shards(manifest.parent, "train").manifests]
        if wanted in (None, fingerprints):
            return manifest.parent
    raise UserError(f"the latents of {model.parent} are not below {runs[0]}: give their folder, latent_data.root=…")
