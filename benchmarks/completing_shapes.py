"""Does a completed shape keep the part that was given, and is there something where the rest was?

    python benchmarks/completing_shapes.py pretrained --data data/furniture_cc0

Of held-out shapes the half of the points on one side of a random plane is given, as `sample.py from= complete=true`
takes it. Measures the distance to the surface, in box units (shapes are 1.8 long), of the given points, of those that
were taken away, and of the surface to the nearest true point: of the whole shape encoded and decoded, of the part
alone, of samples that know nothing of it, of variations of the part, and of completions of several strengths. No
prompt is given. Writes the figures into docs/conditioning.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from command_line import answer, run_parser, this_command
from latent_quality import ROOT, markdown_table, write_section
from omegaconf import OmegaConf
from scipy.spatial import cKDTree
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.domains.scans import places_anew
from fieldforge.domains.shape import ShapeDomain
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.generation import Generator
from fieldforge.metrics.reconstruction import surface_points
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import find_model
from fieldforge.terminal import quantity

STRENGTHS = (0.7, 0.8, 0.9, 1.0)
VARIED = 0.6  # strength of variations of the part, as sample.py from= has it
ON_SURFACE = 20_000  # points of a mesh


@dataclass(frozen=True)
class Halved:
    """Held-out shapes as `input` (B, N, 9), of which `given` (B, N) bool are known."""

    domain: ShapeDomain
    autoencoder: Autoencoder
    generator: Generator
    surface: Tensor
    given: Tensor
    seeds: Sequence[int]

    def parts(self) -> Tensor:
        """`input` (B, N, 9) of the given points, each as often as it takes to fill N."""
        rows = [surface[given] for surface, given in zip(self.surface, self.given, strict=True)]
        return torch.stack([part[torch.arange(self.surface.shape[1]) % len(part)] for part in rows])

    def drawn(self, start: Tensor | None, strength: float = 1.0, known: bool = False) -> list[Tensor]:
        """Latents (1, T, C), shape by shape, seed by seed."""
        latents = []
        for number, given in enumerate(self.given):
            anew = places_anew(self.surface[number, given, :3], self.generator.latent_shape) if known else None
            begin = None if start is None else start[number : number + 1].expand(len(self.seeds), -1, -1)
            steering, noise = self.generator.steering({}, len(self.seeds), 1.0), self.generator.noise(self.seeds)
            latents += self.generator.draw(steering, noise, self.seeds, begin, strength, anew=anew).split(1)
        return latents

    def row(self, name: str, latents: Sequence[Tensor], resolution: int) -> list[str]:
        """Means over latents (1, T, C), as many of each shape in turn."""
        each, figures = len(latents) // len(self.surface), []
        for index, latent in enumerate(latents):
            outputs = self.domain.decode(self.autoencoder, latent, resolution)
            assert isinstance(outputs, Shapes)
            points, _ = surface_points(outputs.surface, ON_SURFACE, np.random.default_rng(0))
            true, given = self.surface[index // each, :, :3].numpy(), self.given[index // each].numpy()
            points = points if len(points) else np.zeros((1, 3))
            near, back = cKDTree(points).query(true)[0], cKDTree(true).query(points)[0]
            figures.append([near[given].mean(), near[~given].mean(), back.mean()])
        print(name, np.mean(figures, axis=0), flush=True)
        return [name, *(f"{figure:.3f}" for figure in np.mean(figures, axis=0))]


def halved(arguments: argparse.Namespace) -> Halved:
    model = find_model(arguments.run, "outputs", "diffusion")[0]
    generator, autoencoder, label = load_diffusion(model, OmegaConf.create({"sampler": {"steps": arguments.steps}}))
    domain, shards = (
        load_domain(label, model),
        open_shards(arguments.data or label["config"]["data"]["root"], "heldout"),
    )
    assert isinstance(domain, ShapeDomain)
    count = min(arguments.shapes, shards.samples)
    batch = next(iter(HeldOut(shards, domain.input_transforms(), seed=0, batch_size=count, limit=count)))
    rng = np.random.default_rng(0)
    along = np.stack([points @ rng.normal(size=3) for points in batch["input"][..., :3].numpy()])  # (B, N)
    given = torch.from_numpy(along > np.median(along, axis=1, keepdims=True))
    return Halved(domain, autoencoder, generator, batch["input"], given, range(arguments.seeds))


def run(arguments: argparse.Namespace) -> None:
    shapes = halved(arguments)
    with torch.no_grad():
        whole, part = (shapes.autoencoder.encode({"input": each}) for each in (shapes.surface, shapes.parts()))
    drawn = {
        "the whole, encoded": list(whole.split(1)),
        "the part, encoded": list(part.split(1)),
        "sampled without the part": shapes.drawn(None),
        f"the part varied, strength {VARIED}": shapes.drawn(part, VARIED),
        **{f"completed, strength {strength:g}": shapes.drawn(part, strength, known=True) for strength in STRENGTHS},
    }
    rows = [shapes.row(name, latents, arguments.resolution) for name, latents in drawn.items()]
    table = markdown_table(["", "given points → surface", "points taken away → surface", "surface → true points"], rows)
    command = this_command()
    facts = (
        f"`{command}`: {len(shapes.surface)} held-out\nshapes × {quantity(arguments.seeds, 'seed')}, half of the "
        f"points given, no prompt, {arguments.steps} sampler steps; mean distances in box units (shapes\nare 1.8 long)."
    )
    print(facts, table, sep="\n\n")
    if not arguments.dry:
        write_section(ROOT / "docs" / "conditioning.md", "completing-shapes", f"{facts}\n\n{table}")


def main() -> None:
    parser = run_parser(__doc__, "a finished run of shapes on latents with places, or pretrained")
    parser.add_argument("--shapes", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=16, help="of the sampler")
    parser.add_argument("--resolution", type=int, default=64)
    answer(run, parser)


if __name__ == "__main__":
    main()
