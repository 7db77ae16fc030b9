"""Quality of samples against the number of network evaluations, for every sampler, on a trained diffusion run.

    python benchmarks/sampler_quality.py outputs/planes_latent/<id>
    python benchmarks/sampler_quality.py outputs/planes_latent/<id> --distilled outputs/distill/<id>

The first writes docs/images/sampler_quality.png, a table in docs/samplers.md, <run>/evaluation/sampler_quality.json.
About 25 minutes on one core for the furniture model; says how much is left. Needs matplotlib. The second compares a run
that was distilled from it with the walk that it learned from, and writes the second table: three minutes.

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
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from command_line import answer, run_parser
from latent_quality import ROOT, LatentFrechet, read_latents, write_section
from omegaconf import OmegaConf
from quality.measures import Cell, Measures, change, verdict
from quality.plot import draw, table
from quality.samplers import BUDGETS, SAMPLERS, sampling_of
from quality.samples import Samples
from quality.shapes import CLOUD, Shapes, training_clouds
from sides import products_of_trainings
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.diffusion.variance import LearnedVarianceModel
from fieldforge.generation import Generator
from fieldforge.rendering.bitmaps import write_whole
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.distillation_stage import latents_of
from fieldforge.stages.locate import find_model

WALK = 64  # steps of the walk that a model was distilled from, by configs/experiment/distill.yaml
BESIDE = 40  # what decoding and comparing costs beside evaluations, roughly, in evaluations
PICTURE = (
    "![Fréchet distance of latents and 1-NNA of decoded shapes against the number of evaluations, one line for "
    "each sampler](images/sampler_quality.png)"
)


class Progress:
    """Share of the work done, and the time that the rest will take."""

    def __init__(self, work: float):
        self.work, self.done, self.started = work, 0.0, time.monotonic()

    def advance(self, amount: float, text: str) -> None:
        self.done += amount
        seconds = (time.monotonic() - self.started) * (self.work / self.done - 1)
        print(f"{self.done / self.work:4.0%}  {seconds / 60:5.1f} min left  {text}", flush=True)


@dataclass(frozen=True)
class Reference:
    """The run that is measured, and the training assets that its samples are compared with.

    `batch`: of the assets whose conditions are used; the first of them are `shapes`.
    """

    sampler: Generator
    batch: dict[str, Any]
    frechet: LatentFrechet
    shapes: Shapes

    @classmethod
    def of(cls, model: Path, arguments: argparse.Namespace) -> Reference:
        sampler, autoencoder, label = load_diffusion(model)
        everything = read_everything(model, label, arguments.latents)
        count = min(arguments.samples, len(everything["latent"]))
        chosen = torch.randperm(len(everything["latent"]), generator=torch.Generator().manual_seed(0))[:count]
        batch = {
            name: values[chosen] if isinstance(values, Tensor) else [values[i] for i in chosen.tolist()]
            for name, values in everything.items()
        }
        root = arguments.data or OmegaConf.create(label["autoencoder"]["config"]).data.root
        shapes = shapes_of(autoencoder, root, batch, arguments.shapes)
        return cls(sampler, batch, LatentFrechet(everything["latent"], arguments.components), shapes)

    def measures(self, scale: float, student: Generator | None = None) -> Measures:
        """Of the run at a scale of guidance, or of a student that has learned it."""
        samples = Samples(student or self.sampler, self.batch, scale, baked=student is not None)
        return Measures(samples, self.frechet, self.shapes)


def read_everything(model: Path, label: dict[str, Any], folder: str | None) -> dict[str, Any]:
    """All training latents of a run, with what its conditioner reads."""
    config = OmegaConf.create(label["config"])
    names = [name for name, stage in config.latent_data.transforms.items() if stage is not None]
    transforms = [build(config, f"latent_data.transforms.{name}", trusted=False) for name in names]
    return read_latents(folder or latents_of(model, label, str(model.parents[2])), "train", transforms)


def shapes_of(autoencoder: Autoencoder, root: str, batch: dict[str, Any], count: int) -> Shapes:
    return Shapes(autoencoder, training_clouds(root, [meta["id"] for meta in batch["meta"][:count]]))


def run(arguments: argparse.Namespace) -> None:
    model, _ = find_model(arguments.run, "outputs", "diffusion")
    reference = Reference.of(model, arguments)
    if arguments.distilled:
        compare_distilled(arguments, reference)
        return
    facts, floor = reality(reference, arguments)
    print(facts)
    names = [n for n in SAMPLERS if n != "ddpm_learned" or isinstance(reference.sampler.model, LearnedVarianceModel)]
    if arguments.samplers:
        names = arguments.samplers.split(",")
    budgets = [int(number) for number in arguments.evaluations.split(",")]
    progress = Progress(len(names) * sum(budget + BESIDE for budget in budgets))
    measures = reference.measures(arguments.guidance)
    cells: list[Cell] = []
    for name in names:
        for budget in budgets:
            sampling = sampling_of(name, budget)
            if sampling is not None:
                cells.append(measures(name, budget, sampling))
            progress.advance(budget + BESIDE, str(cells[-1]))
    sentence = verdict(cells, reference.frechet)
    print(sentence)
    (model.parent / "evaluation").mkdir(exist_ok=True)
    listed = json.dumps([cell.figures for cell in cells], indent=1)
    write_whole(listed.encode(), model.parent / "evaluation" / "sampler_quality.json")
    if not arguments.dry:
        draw(cells, floor, ROOT / "docs" / "images" / "sampler_quality.png")
        text = f"{PICTURE}\n\n{facts}\n\n{table(cells, budgets)}\n\n{sentence}"
        write_section(ROOT / "docs" / "samplers.md", "sampler_quality", text)


def reality(reference: Reference, arguments: argparse.Namespace) -> tuple[str, float]:
    """What the measures say of real latents, in a sentence, and their Fréchet distance."""
    latents, frechet = reference.batch["latent"], reference.frechet
    floor = frechet(frechet.project(latents))
    facts = (
        f"{len(latents)} samples, guidance {arguments.guidance:g}, {arguments.components} components "
        f"({frechet.share:.0%} of the variance), real latents among themselves {floor:.3f}; 1-NNA of "
        f"{len(reference.shapes.reference)} shapes, {CLOUD} points each, of decoded real latents "
        f"{reference.shapes.accuracy(latents):.0%}."
    )
    return facts, floor


def compare_distilled(arguments: argparse.Namespace, reference: Reference) -> None:
    """A distilled run at 1, 2, 4, … evaluations beside the walk of its teacher, guided as learned and not at all."""
    student, _, label = load_diffusion(find_model(arguments.distilled, "outputs", "diffusion")[0])
    facts = label["config"]["distillation"]
    cells: list[Cell] = []
    lines = []
    for scale in (facts["guidance"], 0.0):
        guided = f"guidance {scale:g}"
        own = reference.measures(scale, student)
        for steps in sorted({1, 2, facts["steps"]}):
            cells.append(own(f"distilled, {guided}", steps, replace(student.sampler, steps=steps)))
            print(cells[-1], flush=True)
        walk = reference.measures(scale)(f"teacher's sampler, {guided}", WALK, replace(student.sampler, steps=WALK))
        print(walk, flush=True)
        lines.append(
            f"- {guided}: {cells[-1].evaluations} evaluations are {change(reference.frechet, cells[-1], walk)} from "
            f"the teacher's sampler of {WALK} steps"
        )
        cells.append(walk)
    text = "\n".join([table(cells, [1, 2, facts["steps"], WALK]), "", *lines])
    print(text)
    if not arguments.dry:
        write_section(ROOT / "docs" / "samplers.md", "distilled", text)


def main() -> None:
    parser = run_parser(__doc__, "a finished diffusion run")
    parser.add_argument("--distilled", help="directory of a run that was distilled from it")
    parser.add_argument("--samples", type=int, default=192)
    parser.add_argument("--shapes", type=int, default=48, help="of them, decoded for 1-NNA")
    parser.add_argument("--components", type=int, default=16, help="principal components of the Fréchet distance")
    parser.add_argument("--guidance", type=float, default=0.0, help="0: unconditional, where most is left to decide")
    parser.add_argument("--evaluations", default=",".join(map(str, BUDGETS)))
    parser.add_argument("--samplers", help="only these, with commas between")
    parser.add_argument("--latents", help="folder of the latents; found beside the run by itself")
    products_of_trainings()
    answer(run, parser)


if __name__ == "__main__":
    main()
