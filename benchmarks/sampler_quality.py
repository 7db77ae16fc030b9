"""Quality of samples against the number of network evaluations, for every sampler, on a trained diffusion run.

    python benchmarks/sampler_quality.py outputs/furniture_latent/<id> --distilled outputs/distill/<id>

Writes docs/images/sampler_quality.png, the table in docs/samplers.md and <run>/evaluation/sampler_quality.json. About
20 minutes on two idle cores for the furniture model; says how much is left. Needs matplotlib.

All samplers get the same noises and the same conditions, which are captions (classes, pictures) of training assets. An
evaluation is one call of the guided denoiser. Two measures:

- Fréchet distance of the samples to all latents of the training split, in the subspace of their first principal
  components, in units of the variance there. Steps of ± are one standard deviation over 200 resamplings of the samples,
  the same for both sides of a comparison.
- 1-NNA: how often the nearest other shape (Chamfer distance of normalised clouds of surface points) tells samples from
  the training assets whose captions they were given. 50 % is best; 100 %: always told apart.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from latent_quality import ROOT, LatentFrechet, markdown_table, read_latents, write_section
from omegaconf import OmegaConf
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.stages import Meta, Surface
from fieldforge.diffusion.denoiser import Denoiser
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.sampling import Sampling
from fieldforge.diffusion.variance import LearnedVarianceModel
from fieldforge.errors import UserError
from fieldforge.generation import Sampler, decode
from fieldforge.metrics.clouds import chamfer_matrix, normalized_cloud
from fieldforge.metrics.distribution import nearest_neighbour_accuracy
from fieldforge.metrics.reconstruction import surface_points
from fieldforge.rendering.pictures import write_whole
from fieldforge.runs.build import build
from fieldforge.runs.diffusion_stage import load_diffusion
from fieldforge.runs.distillation_stage import latents_of
from fieldforge.runs.locate import find_model
from fieldforge.training.trainer import best_precision

# flow_euler is left out: at the times of its file it takes the steps of ddim.
SAMPLERS = ("ddpm", "ddpm_learned", "ddim", "euler", "heun", "heun_churn", "flow_heun")
SAMPLERS += ("dpm_solver", "dpm_solver_sde", "unipc")
TWO_EVALUATIONS = ("heun", "heun_churn", "flow_heun")
BUDGETS = (1, 2, 4, 8, 16, 32, 64, 128)
CHUNK = 48
CLOUD, RESOLUTION = 256, 32


@dataclass
class Cell:
    """One sampler at one number of evaluations."""

    sampler: str
    budget: int
    evaluations: int
    coordinates: np.ndarray  # (G, D)
    frechet: float
    accuracy: float = math.nan


class Progress:
    """Share of the work done, and the time that the rest will take."""

    def __init__(self, work: float):
        self.work, self.done, self.started = work, 0.0, time.monotonic()

    def advance(self, amount: float, text: str) -> None:
        self.done += amount
        seconds = (time.monotonic() - self.started) * (self.work / self.done - 1)
        print(f"{self.done / self.work:4.0%}  {seconds / 60:5.1f} min left  {text}", flush=True)


class Samples:
    """The same noises and conditions for every sampler.

    Args:
        sampler: of the run.
        batch: as `read_latents` gives it, of the chosen training assets.
        scale: of guidance.
    """

    def __init__(self, sampler: Sampler, batch: dict[str, Any], scale: float, baked: bool = False):
        count = len(batch["latent"])
        self.sampler = sampler
        self.noise = torch.randn(count, *sampler.latent_shape, generator=torch.Generator().manual_seed(0))
        self.autocast = best_precision() == "bf16-mixed"
        guidance = sampler.guidance(scale) if baked else ClassifierFree(scale)
        self.denoisers: list[Denoiser] = []
        with torch.no_grad():
            for start in range(0, count, CHUNK):
                part = {name: values[start : start + CHUNK] for name, values in batch.items()}
                size = len(part["latent"])
                features = sampler.conditioner.embed(part)
                condition, null = sampler.conditioner(features, batch_size=size), sampler.conditioner.null(size)
                self.denoisers.append(sampler.model.guided(guidance, condition, null))

    def __call__(self, sampling: Sampling) -> tuple[Tensor, int]:
        """Latents (G, T, C) and the number of evaluations that each took."""
        calls = 0
        made = []
        for denoise, noise in zip(self.denoisers, self.noise.split(CHUNK), strict=True):
            counted = Counted(denoise)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):  # as in training
                generator = torch.Generator().manual_seed(1)
                made.append(sampling(counted, noise, self.sampler.model.process, generator).float())
            calls = counted.calls
        return torch.cat(made), calls


class Counted:
    """A denoiser that counts; what else it offers stays reachable."""

    def __init__(self, denoise: Denoiser):
        self.denoise, self.calls = denoise, 0

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.denoise(x_t, t)

    def __getattr__(self, name: str) -> object:
        return getattr(self.__dict__["denoise"], name)


class Shapes:
    """1-NNA of decoded samples against training assets."""

    def __init__(self, autoencoder: Autoencoder, clouds: Sequence[np.ndarray]):
        self.autoencoder = autoencoder
        self.reference = [normalized_cloud(cloud) for cloud in clouds]
        self.within_reference = chamfer_matrix(self.reference, self.reference, squared=True)

    def accuracy(self, latents: Tensor) -> float:
        """latents (G, T, C), of which as many count as there are reference shapes."""
        shapes = decode(self.autoencoder, latents[: len(self.reference)])
        rng = np.random.default_rng(0)
        clouds = []
        for index in range(len(shapes)):
            points, _ = surface_points(shapes.mesh(index, RESOLUTION), CLOUD, rng)
            clouds.append(normalized_cloud(points) if len(points) else np.zeros((1, 3)))  # without surface: a point
        within = chamfer_matrix(clouds, clouds, squared=True)
        across = chamfer_matrix(clouds, self.reference, squared=True)
        return nearest_neighbour_accuracy(within, across, self.within_reference)


def training_clouds(root: str, ids: list[str]) -> list[np.ndarray]:
    """Outside points (N, 3) of the named training assets, in that order."""
    found = {}
    for batch in HeldOut(open_shards(root, "train"), [Surface(CLOUD), Meta()], seed=0, batch_size=64):
        points = batch["surface"][..., :3].numpy()
        found.update(
            {meta["id"]: cloud for meta, cloud in zip(batch["meta"], points, strict=True) if meta["id"] in ids}
        )
    missing = [name for name in ids if name not in found]
    if missing:
        raise UserError(
            f"data in {root} have no asset {missing[0]}: give the shards that the run was made from, --data"
        )
    return [found[name] for name in ids]


def sampling_of(name: str, budget: int) -> Sampling | None:
    """The sampler of configs/sampler with at most `budget` evaluations; None where fewer come to the same."""
    config = OmegaConf.create({"sampler": OmegaConf.load(ROOT / "configs" / "sampler" / f"{name}.yaml")})
    config.sampler.steps = (budget + 1) // 2 if name in TWO_EVALUATIONS else budget
    return None if name in TWO_EVALUATIONS and budget == 2 else build(config, "sampler")


def deviation_of_ratio(frechet: LatentFrechet, few: np.ndarray, many: np.ndarray, draws: int = 200) -> float:
    """Standard deviation of the quotient of two Fréchet distances, over resamplings of the samples (paired)."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(draws):
        chosen = rng.integers(len(few), size=len(few))
        ratios.append(frechet(few[chosen]) / frechet(many[chosen]))
    return float(np.std(ratios))


def run(arguments: argparse.Namespace) -> None:
    model, _ = find_model(arguments.run, "outputs", "diffusion")
    sampler, autoencoder, label = load_diffusion(model)
    folder = arguments.latents or latents_of(model, label, str(model.parents[2]))
    config = OmegaConf.create(label["config"])
    names = [name for name, stage in config.latent_data.stages.items() if stage is not None]
    stages = [build(config, f"latent_data.stages.{name}", trusted=False) for name in names]
    everything = read_latents(folder, "train", stages)
    count = min(arguments.samples, len(everything["latent"]))
    chosen = torch.randperm(len(everything["latent"]), generator=torch.Generator().manual_seed(0))[:count]
    batch = {
        name: values[chosen] if isinstance(values, Tensor) else [values[i] for i in chosen.tolist()]
        for name, values in everything.items()
    }
    frechet = LatentFrechet(everything["latent"], arguments.components)
    floor = frechet(frechet.project(batch["latent"]))
    shown = min(arguments.shapes, count)
    root = arguments.data or OmegaConf.create(label["autoencoder"]["config"]).data.root
    shapes = Shapes(autoencoder, training_clouds(root, [meta["id"] for meta in batch["meta"][:shown]]))
    real = shapes.accuracy(batch["latent"])
    print(f"{count} samples; {arguments.components} components hold {frechet.share:.0%} of the latents' variance")
    print(f"real latents among themselves: {floor:.4f}; their decoded shapes: 1-NNA {real:.0%}")

    kinds = [name for name in SAMPLERS if name != "ddpm_learned" or isinstance(sampler.model, LearnedVarianceModel)]
    if arguments.samplers:
        kinds = arguments.samplers.split(",")
    budgets = [int(number) for number in arguments.evaluations.split(",")]
    cells: list[Cell] = []
    samples = Samples(sampler, batch, arguments.guidance)
    extra = 40  # what decoding and comparing costs beside evaluations, roughly, in evaluations
    guided_work = (budgets[-1] + extra) * 2 * 2 if arguments.distilled else 0
    progress = Progress(len(kinds) * sum(budget + extra for budget in budgets) + guided_work)
    for name in kinds:
        for budget in budgets:
            sampling = sampling_of(name, budget)
            if sampling is not None:
                cells.append(measured(name, budget, samples, sampling, frechet, shapes))
            progress.advance(budget + extra, described(cells[-1]))
    best, sentence = verdict(cells, frechet)
    print(sentence)
    more = ""
    if arguments.distilled:
        cells, told = distilled(arguments, batch, frechet, shapes, cells, sampler, best, budgets[-1], progress)
        more = f"\n\n{told}"
        print(told)
    facts = (
        f"{count} samples, guidance {arguments.guidance:g}, {arguments.components} components "
        f"({frechet.share:.0%} of the variance), real latents among themselves {floor:.3f}; "
        f"1-NNA of {shown} shapes, {CLOUD} points each, of decoded real latents {real:.0%}."
    )
    write_whole(json.dumps([plain(cell) for cell in cells], indent=1).encode(), evaluation(model))
    if not arguments.dry:
        draw(cells, floor, ROOT / "docs" / "images" / "sampler_quality.png")
        picture = (
            "![Fréchet distance of latents and 1-NNA of decoded shapes against the number of evaluations, one line for "
            "each sampler](images/sampler_quality.png)"
        )
        text = f"{picture}\n\n{facts}\n\n{table(cells, budgets)}\n\n{sentence}{more}"
        write_section(ROOT / "docs" / "samplers.md", "sampler_quality", text)


def measured(
    name: str, budget: int, samples: Samples, sampling: Sampling, frechet: LatentFrechet, shapes: Shapes
) -> Cell:
    latents, calls = samples(sampling)
    coordinates = frechet.project(latents)
    return Cell(name, budget, calls, coordinates, frechet(coordinates), shapes.accuracy(latents))


def distilled(
    arguments: argparse.Namespace,
    batch: dict[str, Any],
    frechet: LatentFrechet,
    shapes: Shapes,
    cells: list[Cell],
    teacher: Sampler,
    best: str,
    most: int,
    progress: Progress,
) -> tuple[list[Cell], str]:
    """The distilled run at 1, 2, 4, … evaluations beside its teacher at the guidance that it has learned."""
    path, _ = find_model(arguments.distilled, "outputs", "diffusion")
    student, _, label = load_diffusion(path)
    facts = label["config"]["distillation"]
    guided = Samples(teacher, batch, facts["guidance"])
    name = f"{best}, guidance {facts['guidance']:g}"
    sampling = sampling_of(best, most)
    assert sampling is not None
    truth = measured(name, most, guided, sampling, frechet, shapes)
    progress.advance(2 * 2 * most, described(truth))
    added = [truth]
    own = Samples(student, batch, facts["guidance"], baked=True)
    for steps in sorted({1, 2, facts["steps"]}):
        few = Sampling(student.sampling.sampler, student.sampling.spacing, steps, student.sampling.threshold)
        added.append(measured(f"distilled, guidance {facts['guidance']:g}", steps, own, few, frechet, shapes))
        print(described(added[-1]), flush=True)
    last = added[-1]
    spread = deviation_of_ratio(frechet, last.coordinates, truth.coordinates)
    told = (
        f"Distilled at guidance {facts['guidance']:g}, {last.evaluations} evaluations are "
        f"{last.frechet / truth.frechet - 1:+.1%} (± {spread:.1%}) from the teacher's {truth.evaluations}."
    )
    return cells + added, told


def verdict(cells: list[Cell], frechet: LatentFrechet) -> tuple[str, str]:
    """The sampler that is best at no more than 16 evaluations, and how far each is from where it ends."""
    few = min((cell for cell in cells if cell.evaluations <= 16), key=lambda cell: cell.frechet)
    told = [f"Nearest at no more than 16 evaluations: {few.sampler} with {few.evaluations}."]
    for name in dict.fromkeys(cell.sampler for cell in cells):
        own = [cell for cell in cells if cell.sampler == name]
        most = max(own, key=lambda cell: cell.evaluations)
        some = max((cell for cell in own if cell.evaluations <= 16), key=lambda cell: cell.evaluations)
        spread = deviation_of_ratio(frechet, some.coordinates, most.coordinates)
        change = f"{some.frechet / most.frechet - 1:+.1%} (± {spread:.1%})"
        told.append(f"- `{name}`: {change} at {some.evaluations} of {most.evaluations} evaluations")
    return few.sampler, "\n".join([told[0], "How far the distance still was from where it ended:", "", *told[1:]])


def described(cell: Cell) -> str:
    return f"{cell.sampler} {cell.evaluations}: Fréchet {cell.frechet:.4f}, 1-NNA {cell.accuracy:.0%}"


def plain(cell: Cell) -> dict[str, Any]:
    return {
        "sampler": cell.sampler,
        "evaluations": cell.evaluations,
        "frechet": cell.frechet,
        "nearest_neighbour_accuracy": cell.accuracy,
    }


def evaluation(model: Path) -> Path:
    (model.parent / "evaluation").mkdir(exist_ok=True)
    return model.parent / "evaluation" / "sampler_quality.json"


def table(cells: list[Cell], budgets: list[int]) -> str:
    """Fréchet distance and, in brackets, 1-NNA in per cent."""
    by_place = {(cell.sampler, cell.budget): cell for cell in cells}
    rows = []
    for name in dict.fromkeys(cell.sampler for cell in cells):
        found = [by_place.get((name, budget)) for budget in budgets]
        told = [f"{cell.frechet:.3f} ({100 * cell.accuracy:.0f})" if cell else "" for cell in found]
        rows.append([f"`{name}`" if "," not in name else name, *told])
    return markdown_table(["evaluations ≤", *map(str, budgets)], rows)


def draw(cells: list[Cell], floor: float, path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), constrained_layout=True)
    for name in dict.fromkeys(cell.sampler for cell in cells):
        own = [cell for cell in cells if cell.sampler == name]
        evaluations = [cell.evaluations for cell in own]
        style = {"marker": "o", "markersize": 3, "linewidth": 1.2, "label": name}
        if "," in name:
            style |= {"linestyle": "--", "marker": "s", "markersize": 5}
        left.plot(evaluations, [cell.frechet for cell in own], **style)
        right.plot(evaluations, [100 * cell.accuracy for cell in own], **style)
    left.axhline(floor, color="gray", linewidth=0.8, linestyle=":")
    right.axhline(50, color="gray", linewidth=0.8, linestyle=":")
    left.set(title="Fréchet distance of latents", yscale="log", xscale="log", xlabel="network evaluations")
    right.set(title="1-NNA of decoded shapes, %", xscale="log", xlabel="network evaluations")
    for axes in (left, right):
        axes.set_xticks(BUDGETS, [str(number) for number in BUDGETS])
        axes.minorticks_off()
    right.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="directory of a finished diffusion run")
    parser.add_argument("--distilled", help="directory of a run that was distilled from it")
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--shapes", type=int, default=64, help="of them, decoded for 1-NNA")
    parser.add_argument("--components", type=int, default=16, help="principal components of the Fréchet distance")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--evaluations", default=",".join(map(str, BUDGETS)))
    parser.add_argument("--samplers", help="only these, with commas between")
    parser.add_argument("--latents", help="folder of the latents; found beside the run by itself")
    parser.add_argument("--data", help="sample shards; those of the run's configuration")
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/ as they are")
    torch.set_float32_matmul_precision("medium")
    try:
        run(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
