"""Body of sample.py: prompts, classes, pictures or a file → samples in files, and a gallery to look at."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from fieldforge.asking.drawing import Drawing
from fieldforge.asking.guidance import check_effect, check_learned_in, form_of, guided_by, with_form, with_guidance
from fieldforge.asking.requests import Job, Request, batches, jobs, requests, scales, ways
from fieldforge.asking.sample_files import SampleFiles, slug
from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.stored import plain_config
from fieldforge.configuration.values import check_finite, check_keys, number, whole_number
from fieldforge.domains.domain import Domain
from fieldforge.errors import UserError
from fieldforge.generation import Generator, ImagePrior
from fieldforge.ranges import Count, GridCells, Range
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.ema_length import of_length
from fieldforge.stages.locate import find_model
from fieldforge.stages.prior_stage import load_prior
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.storage.files import MACHINE, make_folder, writing
from fieldforge.terminal import printable, status
from fieldforge.training.processes.hardware import best_device

log = logging.getLogger(__name__)
FRAMES = 8  # of an interpolation
STRENGTH = 0.6  # of variations
SETTINGS: dict[str, Any] = {
    "n": Count,
    "batch_size": Count,
    "resolution": GridCells | None,
    "steps": Count | None,
    "frames": Annotated[int, Range(2, 10_000)] | None,
    "ema_length": float | None,
    "prior_guidance": float | None,
    "remove_background": bool,
    "guidance.all": float | None,
    "guidance.text": float | None,
    "guidance.image": float | None,
    "guidance.class": float | None,
    "guidance.scale": float | None,
    "guidance.rescale": float | None,
}
SEEDS = 2**62  # (torch takes 64 bits; seeds of further samples and of a prior's pictures lie above the given one)


def run_sampling(config: DictConfig) -> Path:
    """Write files and thumbnail of every sample, `samples.json` and `index.html`; returns the page's path.

    An interpolation also gives `strip.png`: a row for each seed, a column for each frame.
    """
    check_settings(config)
    model = of_length(find_model(config.run, config.output_dir, "diffusion")[0], config.ema_length)
    generator, autoencoder, label = load_diffusion(model, sampling_of(config), best_device(config.device))
    warn_if_untrained(label, model.parent)
    if "distillation" in label["config"]:
        check_distilled(config, whole_number(plain_config(label["config"]), "distillation.steps"))
    generator = with_guidance(config, with_form(config, generator, label), label)
    prior = None
    if config.prior is not None:
        prior = load_prior(find_model(config.prior, config.output_dir, "prior")[0], generator.device)
        prior.check(generator.conditioner)
    understood = generator.keys | (prior.generator.keys if prior else set())
    wanted = requests(config, generator, understood)
    work = planned(config, wanted)
    if prior is not None and not any(imagined(asked, prior) for asked in wanted):
        raise UserError(
            f"prior= makes a picture out of a text: give {ways(prior.generator.keys)} without image=, or leave it out"
        )
    led = guided_by(config)
    scale = led["guided_by_scale"] if led.get("guided_by") == "autoguidance" else scales(config, generator.read)
    check_effect(config, scale)
    check_learned_in(label, scale, config.negative)
    domain, given = load_domain(label, model), None
    if config.get("from") is not None:
        given = encoded_file(domain, autoencoder, Path(config.get("from")), seed_of(config, "seed"))
    negative = negative_of(config, generator, scale)
    draw = Drawing(generator, scale, negative, prior, prior_scale_of(config), given, strength_of(config))
    size = whole_number(config, "batch_size")
    folder = Path(config.output) if config.output else model.parent / "samples" / folder_name(wanted, config, scale)
    make_folder(folder, "output")
    settings = {"guidance": named(scale), "steps": generator.sampler.steps, **said(config)}
    log.info("%s: %d samples at guidance %s", model.parent, len(work), shown(scale))
    if understood and given is None and not any(asked.values for asked in wanted):
        log.info("nothing is asked for: give %s to lead it", ways(understood))
    about = {"run": str(model.parent), "fingerprint": label["fingerprint"]}
    subtitle = f"{label['config'].get('name', '')} · guidance {shown(scale)}"
    files = SampleFiles(folder, about, subtitle)
    with writing(folder, MACHINE):
        parts = batches(work, size)
        evaluations = draw.evaluations
        for number, part in enumerate(parts, start=1):
            latents = draw(part, Denoising(f"batch {number} of {len(parts)}", evaluations))  # (B, T, C)
            outputs = domain.decode(autoencoder, latents, config.resolution)  # B of them
            with files.batch():
                for index, job in enumerate(part):
                    status(f"sample {len(files.listed) + 1} of {len(work)}: drawn and written, {job.title[:50]}")
                    frame = {"frame": round(job.weight, 3)} if is_walk(config) else {}
                    files.add(outputs[index], job, {"seed": job.seed, **frame, **settings}, model)
        status(f"{len(files.listed)} of {len(work)} samples")
        status("")
        if is_walk(config):
            files.write_strip(work)
    print(printable(str(files.page)))
    return files.page


@torch.no_grad()
def encoded_file(domain: Domain, autoencoder: Autoencoder, path: Path, seed: int) -> Tensor:
    """Latent (1, T, C) of a user's file. UserError for one that cannot be read."""
    return autoencoder.encode(domain.read_file(path, seed).to(autoencoder.latent_mean.device))


@dataclass(frozen=True)
class Denoising:
    """Shows how far a batch is."""

    batch: str
    evaluations: int

    def __call__(self, done: int) -> None:
        status(f"{self.batch}: denoised {done} of {self.evaluations} times")


def check_settings(config: DictConfig) -> None:
    """What can be known before a model is looked for. UserError for the first value that will not do; names its key."""
    check_finite(config)
    check_alone(config)
    check_keys(config, SETTINGS)
    for key in ("seed", "to_seed"):
        if config[key] is not None:
            seed_of(config, key)
    strength_of(config)
    form_of(config)
    guided_by(config)


def planned(config: DictConfig, wanted: list[Request]) -> list[Job]:
    """Every sample to make. UserError for an interpolation that misses an end."""
    seed, n = seed_of(config, "seed"), whole_number(config, "n")
    if not is_walk(config):
        if config.frames is not None:
            raise UserError("frames= is given, but no end: give to= (a second prompt) or to_seed= (a second seed)")
        return jobs(wanted, wanted, seed, seed, n, 1)
    ends = wanted
    if config.to is not None:
        if any("caption" not in start.said for start in wanted):
            raise UserError("to= is the second of two prompts: give the first one as prompt=")
        if not str(config.to).strip():
            raise UserError("to= is empty: write the prompt to go to")
        text = str(config.to).strip()
        ends = [
            replace(start, values={**start.values, "caption": text}, said={**start.said, "caption": text})
            for start in wanted
        ]
    end_seed = seed if config.to_seed is None else seed_of(config, "to_seed")
    frames = FRAMES if config.frames is None else whole_number(config, "frames", least=2)
    return jobs(wanted, ends, seed, end_seed, n, frames)


def seed_of(config: DictConfig, key: str) -> int:
    """A whole number that random generators take."""
    seed = whole_number(config, key, least=0)
    if seed >= SEEDS:
        raise UserError(f"{key}={seed} is too large: give a whole number below {SEEDS}")
    return seed


def check_alone(config: DictConfig) -> None:
    """UserError for what has no effect without something else."""
    for key, needed in (("strength", "from"), ("prior_guidance", "prior")):
        if config.get(key) is not None and config.get(needed) is None:
            raise UserError(f"{key}={config.get(key)} has no effect without {needed}=: give that too, or leave it out")
    for key in ("from", "prior", "run"):
        if config.get(key) is not None and not str(config.get(key)).strip():
            raise UserError(f"{key}= is empty: give a path, or leave it out")


def strength_of(config: DictConfig) -> float:
    """How far variations go. UserError unless in (0, 1]."""
    strength = STRENGTH if config.strength is None else number(config, "strength")
    if not 0 < strength <= 1:
        raise UserError(f"strength={strength:g} must be above 0 (the given shape) and at most 1 (a new one)")
    return strength


def prior_scale_of(config: DictConfig) -> float:
    """How closely a prior follows the text: 1 unless it is given."""
    return 1.0 if config.prior_guidance is None else number(config, "prior_guidance")


def sampling_of(config: DictConfig) -> DictConfig:
    """What of the run's generator is to be another: nothing, its `steps`, or all of it."""
    block = OmegaConf.create(config.get("sampler") or {})
    if config.steps is not None:
        block.steps = whole_number(config, "steps")
    return OmegaConf.create({"sampler": block} if block else {})


def imagined(asked: Request, prior: ImagePrior) -> bool:
    """Whether the prior makes the picture of a request."""
    return "image" not in asked.values and bool(asked.values.keys() & prior.generator.keys)


def check_distilled(config: DictConfig, steps: int) -> None:
    """UserError for another sampler than a distilled model's own; says where it is given more steps than it learned."""
    if config.get("sampler") is not None:
        raise UserError("this model was distilled for the sampler that it has: leave sampler= out")
    if config.steps is not None and config.steps > steps:
        log.warning("steps=%d: this model was distilled to take %d, it has not learned more", config.steps, steps)


def is_walk(config: DictConfig) -> bool:
    """Whether samples between two prompts or two seeds are asked for."""
    return config.to is not None or config.to_seed is not None


def negative_of(config: DictConfig, generator: Generator, scale: float | Mapping[str, float]) -> Mapping[str, Any]:
    """What guidance leads away from, as sources read it; empty: from the null condition."""
    if config.negative is None:
        return {}
    if not str(config.negative).strip():
        raise UserError("negative= is empty: write what to lead away from, or leave it out")
    if scale in (0.0, 1.0):
        raise UserError(f"negative= has no effect at guidance={shown(scale)}: give more, such as guidance=3")
    if "caption" not in generator.read:
        raise UserError("negative= is given, but this model reads no texts: leave it out")
    return {"caption": str(config.negative).strip()}


def said(config: DictConfig) -> dict[str, Any]:
    """What was asked for beside prompts, classes and pictures, as far as it was."""
    given = {key: config.get(key) for key in ("negative", "to", "to_seed", "from", "prior", "ema_length")}
    told = {key: value for key, value in given.items() if value is not None}
    if "from" in told:
        told["strength"] = strength_of(config)
    if "prior" in told:
        told["prior_guidance"] = prior_scale_of(config)
    if config.get("sampler") is not None:
        told["sampler"] = str(config.sampler.solver._target_).rpartition(".")[2]
    return told | form_of(config) | guided_by(config)


def named(scale: float | Mapping[str, float]) -> float | dict[str, float]:
    """Guidance as it is asked for: what sources read as a caption is called text."""
    if not isinstance(scale, Mapping):
        return scale
    return {"text" if key == "caption" else key: value for key, value in scale.items()}


def shown(scale: float | Mapping[str, float]) -> str:
    """Guidance in few words."""
    told = named(scale)
    return " ".join(f"{key} {value:g}" for key, value in told.items()) if isinstance(told, dict) else f"{told:g}"


def folder_name(wanted: Sequence[Request], config: DictConfig, scale: float | Mapping[str, float]) -> str:
    """Of what the folder holds: the same for the same call."""
    more = f"-and-{len(wanted) - 1}-more" if len(wanted) > 1 else ""
    paths = ("from", "prior")  # of these the last part will do
    told = {key: Path(value).stem if key in paths else str(value) for key, value in said(config).items()}
    further = "".join(f"_{key.replace('_', '-')}-{slug(value)}" for key, value in told.items())
    return f"{slug(wanted[0].title)}{more}{further}_g{shown(scale).replace(' ', '-')}_s{config.seed}"
