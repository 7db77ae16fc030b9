"""From a finished diffusion model to one of few steps: phases of progressive distillation, each a diffusion run."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fieldforge.data.datamodule import ShardDataModule
from fieldforge.data.manifest import MANIFEST_NAME
from fieldforge.data.shards import open_shards
from fieldforge.diffusion.denoiser import Guidance
from fieldforge.diffusion.distillation import student_intervals
from fieldforge.diffusion.guidance.baked import Baked
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.sampling import Sampling
from fieldforge.errors import UserError
from fieldforge.runs.build import build
from fieldforge.runs.diffusion_stage import STAGE, load_diffusion, pictures_of_prompts
from fieldforge.runs.directory import StageDirectory
from fieldforge.runs.locate import find_model
from fieldforge.runs.training_run import embed_once, number, plain, train, whole_number
from fieldforge.training import ranks
from fieldforge.training.checkpointing import load_safely
from fieldforge.training.distillation_module import DistillationModule

log = logging.getLogger(__name__)
OWN = ("name", "output_dir", "seed", "trainer", "logger", "callbacks", "monitor", "sampler")


def train_distillation(config: DictConfig) -> StageDirectory:
    """The directory of the last phase's student, after all phases: reused, resumed or trained.

    Raises:
        UserError: no such teacher, one whose latents are gone, a wrong configuration.
        Interrupted: a signal stopped it; its state is saved.
    """
    teacher, _ = find_model(str(config.teacher), config.output_dir, STAGE)
    label = load_safely(teacher)["fieldforge"]
    if "distillation" in label["config"]:
        raise UserError(f"teacher={config.teacher} is distilled already: give the run it was distilled from")
    conditional = bool(label["config"]["conditioner"]["sources"])
    scale = number(config, "distillation.guidance") if conditional else 1.0
    before = whole_number(config, "distillation.teacher_steps")
    given_root = not OmegaConf.is_missing(config.latent_data, "root")
    latents = str(config.latent_data.root if given_root else latents_of(teacher, label, config.output_dir))
    phases = plain(config.distillation.steps)
    if not isinstance(phases, list) or not phases or not all(isinstance(steps, int) and steps > 0 for steps in phases):
        raise UserError(f"distillation.steps={phases} must be a list of falling numbers of steps, such as [16, 4]")
    for steps in phases:
        if before % steps or steps >= before:
            raise UserError(f"distillation: {before} steps are no multiple of {steps}: choose others")
        given: Guidance = ClassifierFree(scale) if before == config.distillation.teacher_steps else Baked(scale, scale)
        directory = train_phase(config, teacher, latents, before // steps, steps, scale, given)
        teacher, before = directory.model, steps
    return directory


def train_phase(
    config: DictConfig, teacher: Path, latents: str, substeps: int, steps: int, scale: float, guidance: Guidance
) -> StageDirectory:
    """One student of `steps` steps, each of which is `substeps` of the teacher's under `guidance`."""
    sampler, autoencoder, label = load_diffusion(teacher)
    own = student_config(config, label["config"], latents, substeps, steps, scale)
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
    directory = StageDirectory.of(STAGE, Path(own.output_dir) / own.name, determining)
    if directory.finished:
        log.info("distillation to %d steps: finished already, reused from %s", steps, directory.path)
        return directory
    ranks.first_alone(lambda: directory.open(plain(own)))
    log.info("distillation to %d steps: in %s", steps, directory.path)
    embed_once(data.stages, sampler.conditioner)
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
    trained = train(own, directory, module, data, pictures_of_prompts(own, data, autoencoder, **shown))
    kept = {name: label[name] for name in ("autoencoder", "autoencoder_state_dict", "encoders")}
    ranks.first_alone(lambda: directory.save_model(trained.state_dict(), plain(own), **kept))
    log.info("distillation to %d steps: finished, %s", steps, directory.model)
    return directory


def student_config(
    config: DictConfig, teacher: dict[str, Any], latents: str, substeps: int, steps: int, scale: float
) -> DictConfig:
    """The teacher's configuration, trained and sampled as this one says."""
    own, mine = OmegaConf.create(teacher), plain(config)
    for key in OWN:
        own[key] = mine[key]
    own.weighting, own.training[STAGE] = mine["weighting"], mine["training"][STAGE]
    own.sampler.steps = steps
    own.latent_data.root = latents
    own.guidance = {"_target_": f"{Baked.__module__}.{Baked.__qualname__}", "scale": scale, "distilled": scale}
    own.distillation = {"steps": steps, "substeps": substeps, "guidance": scale}
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
    stored = label["config"]
    fingerprint = label["autoencoder"]["fingerprint"]
    run = Path(stored.get("autoencoder_run") or Path(output_dir) / stored["autoencoder_name"] / fingerprint)
    known = model.with_name("fingerprint.json")
    wanted = json.loads(known.read_text()).get("latents") if known.is_file() else None
    for manifest in sorted(run.glob(f"latents/*/{MANIFEST_NAME}")):
        found = [part.fingerprint for part in open_shards(manifest.parent, "train").manifests]
        if wanted in (None, found):
            return manifest.parent
    raise UserError(f"the latents of {model.parent} are not below {run}: give their folder, latent_data.root=…")
