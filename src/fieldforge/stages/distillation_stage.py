"""From a finished diffusion model to one of few steps: phases of progressive distillation, each a diffusion run."""

from __future__ import annotations

import copy
import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fieldforge.configuration.build import build
from fieldforge.configuration.stored import is_local, load_run, of_run, plain_config
from fieldforge.configuration.values import number, whole_number
from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.lock import scope
from fieldforge.data.manifest import MANIFEST_NAME
from fieldforge.data.shards import open_shards
from fieldforge.data.store import names_elsewhere
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.distillation import student_intervals
from fieldforge.diffusion.guidance.baked import Baked
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.sampling import Sampling
from fieldforge.errors import UserError
from fieldforge.stages.continuation import stage_directory
from fieldforge.stages.diffusion_stage import STAGE, load_diffusion, pictures_of_prompts
from fieldforge.stages.directory import StageDirectory
from fieldforge.stages.locate import find_model
from fieldforge.stages.training_run import embed_once, plain, train
from fieldforge.training.callbacks.picture_log import Draw
from fieldforge.training.modules.distillation_module import DistillationModule
from fieldforge.training.processes import ranks

log = logging.getLogger(__name__)
OWN = ("name", "output_dir", "continue_from", "seed", "trainer", "logger", "callbacks", "monitor", "sampler")


@dataclass(frozen=True)
class Phase:
    """A student of `steps` steps, each of which is `substeps` of its teacher's, for a `share` of the budget."""

    steps: int
    substeps: int
    share: float


@scope()
def train_distillation(config: DictConfig) -> StageDirectory:
    """The directory of the last phase's student, after all phases: reused, resumed or trained.

    Raises:
        UserError: no such teacher, one whose latents are gone, a wrong configuration.
        Interrupted: a signal stopped it; its state is saved.
    """
    plan = planned(config)
    teacher, guidance = plan.teacher, plan.guidance
    for phase in plan.phases:
        directory = train_phase(config, teacher, plan.latents, phase, plan.scale, guidance)
        teacher, guidance = directory.model, Baked(plan.scale, plan.scale)
    return directory


@dataclass(frozen=True)
class Planned:
    """Where a distillation starts: `model.ckpt` of the teacher, its label, the folder of its latents, the phases."""

    teacher: Path
    label: dict[str, Any]
    latents: str
    phases: list[Phase]
    scale: float

    @property
    def guidance(self) -> Guidance:
        """Of the teacher in the first phase."""
        return ClassifierFree(self.scale)


def planned(config: DictConfig) -> Planned:
    """All that is known before the first phase.

    Raises:
        UserError: no such teacher, one whose latents are gone, impossible numbers of steps.
    """
    teacher, _ = find_model(str(config.teacher), config.output_dir, STAGE)
    _, label = load_run(teacher, STAGE)
    if "distillation" in label["config"]:
        raise UserError(f"teacher={config.teacher} is distilled already: give the run it was distilled from")
    conditional = bool(OmegaConf.select(plain_config(label["config"]), "conditioner.sources"))
    scale = number(config, "distillation.guidance") if conditional else 1.0
    phases = phases_of(config, guided=scale != 1)
    given_root = not OmegaConf.is_missing(config.latent_data, "root")
    latents = str(config.latent_data.root if given_root else latents_of(teacher, label, config.output_dir))
    return Planned(teacher, label, latents, phases, scale)


def rehearse(config: DictConfig) -> None:
    """UserError for what any of the phases would stumble over in its settings. Nothing is written."""
    plan = planned(config)
    process = build(OmegaConf.create(plan.label["config"]), "process", trusted=False)
    for phase in plan.phases:
        own = student_config(config, plan.label["config"], plan.latents, phase, plan.scale)
        build(own, "latent_data", trusted=False, batch_size=1)
        build(own, "weighting")
        nested_times(build(own, "sampler"), phase.steps, phase.substeps, process)


def phases_of(config: DictConfig, guided: bool) -> list[Phase]:
    """Those of the configuration; one of as many steps as the teacher's has nothing to learn unless that is guided.

    Raises:
        UserError: numbers of steps that do not divide each other, or shares that do not fit them.
    """
    before = whole_number(config, "distillation.teacher_steps")
    settings = plain(config.distillation)
    steps, shares = settings["steps"], settings["shares"]
    if not isinstance(steps, list) or not steps or not all(type(one) is int and one > 0 for one in steps):
        raise UserError(f"distillation.steps={steps} must be a list of falling numbers of steps, such as [64, 16, 4]")
    if not isinstance(shares, list) or not all(
        type(share) in (int, float) and 0 < share < math.inf for share in shares
    ):
        raise UserError(f"distillation.shares={shares} must be a list of positive numbers, such as [3, 1, 1]")
    if len(shares) != len(steps):
        raise UserError(f"distillation.shares={shares} must be {len(steps)} numbers, one for each of steps={steps}")
    phases = []
    for place, (fewer, share) in enumerate(zip(steps, shares, strict=True)):
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


def train_phase(
    config: DictConfig, teacher: Path, latents: str, phase: Phase, scale: float, guidance: Guidance
) -> StageDirectory:
    """The student of one phase, its teacher under `guidance`."""
    sampler, autoencoder, label = load_diffusion(teacher)
    steps, substeps = phase.steps, phase.substeps
    with of_run(teacher):
        own = student_config(config, label["config"], latents, phase, scale)
        batch_size = whole_number(own, f"training.{STAGE}.batch_size")
        data: ShardDataModule = build(own, "latent_data", trusted=False, batch_size=batch_size)
    determining = {
        "stage": STAGE,
        "teacher": label["fingerprint"],
        "seed": own.seed,
        "latents": [manifest.fingerprint for manifest in data.shards(data.train_split).manifests],
        "training": plain(own.training[STAGE]),
        **{part: plain(own[part]) for part in ("distillation", "sampler", "weighting")},
    }
    directory = stage_directory(
        own,
        STAGE,
        Path(own.output_dir) / own.name,
        determining,
        build(own, f"training.{STAGE}.budget"),
    )
    if directory.finished:
        log.info("distillation to %d steps: finished already, reused from %s", steps, directory.path)
        return directory
    ranks.first_alone(lambda: directory.open(plain(own)))
    log.info("distillation to %d steps: in %s", steps, directory.path)
    embed_once(data.transforms, sampler.conditioner)
    sampling: Sampling = build(own, "sampler")
    process = sampler.model.process
    module = DistillationModule(
        copy.deepcopy(sampler.model).train(),
        sampler.conditioner,
        sampler.model,
        guidance,
        student_intervals(nested_times(sampling, steps, substeps, process), substeps),
        weighting=build(own, "weighting"),
        optimizer=build(own, f"training.{STAGE}.optimizer"),
        seed=whole_number(own, "seed", least=0),
    )
    shown = {**plain(own.monitor.pictures), "steps": steps, "scale": scale}
    draw: Draw | None = pictures_of_prompts(own, data, autoencoder, **shown)
    if "image" in sampler.keys and not is_local(label["config"]):  # they would show views from the teacher's data.root
        log.warning("warning: the teacher's data.root is no folder here, so no pictures are drawn in training")
        draw = None
    trained = train(own, directory, module, data, draw)
    kept = {name: label[name] for name in ("autoencoder", "autoencoder_state_dict", "encoders")}
    ranks.first_alone(lambda: directory.save_model(trained.state_dict(), plain(own), **kept))
    log.info("distillation to %d steps: finished, %s", steps, directory.model)
    return directory


def student_config(config: DictConfig, teacher: dict[str, Any], latents: str, phase: Phase, scale: float) -> DictConfig:
    """The teacher's configuration, trained and sampled as this one says, for the phase's share of the budget."""
    own, mine = plain_config(teacher), plain(config)
    for key in OWN:
        own[key] = mine[key]
    own.weighting, own.training[STAGE] = mine["weighting"], mine["training"][STAGE]
    budget = own.training[STAGE].budget
    budget.max_steps = max(1, round(budget.max_steps * phase.share))
    if budget.max_minutes is not None:
        budget.max_minutes *= phase.share
    own.sampler.steps = phase.steps
    own.latent_data.root = latents
    own.guidance = {"_target_": f"{Baked.__module__}.{Baked.__qualname__}", "scale": scale, "distilled": scale}
    own.distillation = {"steps": phase.steps, "substeps": phase.substeps, "guidance": scale}
    return own


def nested_times(sampling: Sampling, steps: int, substeps: int, process: Any) -> Any:
    """Times (steps · substeps + 1,) of the teacher. UserError unless those of the student are among them."""
    times = sampling.spacing.times(steps * substeps, process)
    if not times[::substeps].allclose(sampling.spacing.times(steps, process), rtol=1e-6, atol=1e-9):
        raise UserError(
            f"sampler.spacing: the times of {steps} steps are not among those of {steps * substeps}: take "
            "sampler=distilled, or spacing Uniform"
        )
    return times


def latents_of(model: Path, label: dict[str, Any], output_dir: str) -> Path:
    """Folder of the latents that a diffusion model was trained on, below its autoencoder.

    Raises:
        UserError: they are not there.
    """
    stored, fingerprint = label["config"], label["autoencoder"]["fingerprint"]
    run = Path(
        str(stored.get("autoencoder_run") or Path(output_dir) / str(stored.get("autoencoder_name")) / fingerprint)
    )
    if names_elsewhere(str(run)):
        raise UserError(f"{model} names {run} as its autoencoder, no folder here: give latent_data.root=")
    known = model.with_name("fingerprint.json")
    try:
        wanted = json.loads(known.read_bytes()).get("latents") if known.is_file() else None
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{known} is damaged: delete it, or give latent_data.root=") from error
    for manifest in sorted(run.glob(f"latents/*/{MANIFEST_NAME}")):
        found = [part.fingerprint for part in open_shards(manifest.parent, "train").manifests]
        if wanted in (None, found):
            return manifest.parent
    raise UserError(f"the latents of {model.parent} are not below {run}: give their folder, latent_data.root=…")
