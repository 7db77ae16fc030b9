"""Has a sampled shape the proportions, symmetry and sharpness that it is asked to have?

    python train.py experiment=fine_tune conditioner/parts=[text,class,image_features,proportions,symmetry,sharpness]
    python benchmarks/asked_numbers.py outputs/fine_tune/<id> --data data/furniture_cc0

The numbers of held-out shapes are asked for, one key alone at a time, without a prompt. They are measured of the
samples as of stored shapes, and the mean difference is set beside that of samples with the same seeds that are asked
for nothing, and beside the difference between a held-out shape and the next one. Writes the figures into
docs/conditioning.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from command_line import answer, run_parser, this_command
from latent_quality import ROOT, markdown_table, write_section
from omegaconf import OmegaConf

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.shape_numbers import NUMBERS, POINTS, ShapeNumbers
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.domains.shape import ShapeDomain
from fieldforge.domains.shape_outputs import Shapes
from fieldforge.errors import UserError
from fieldforge.generation import Generator
from fieldforge.metrics.reconstruction import surface_points
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import find_model
from fieldforge.terminal import quantity

BATCH = 16
Key = Literal["proportions", "symmetry", "sharpness"]
SIZES: dict[Key, int] = {"proportions": 3, "symmetry": 3, "sharpness": 1}


class Samples:
    """Draws shapes and measures their numbers; seeds are 0, 1, …"""

    def __init__(self, generator: Generator, autoencoder: Autoencoder, domain: ShapeDomain, resolution: int):
        self.generator, self.autoencoder, self.domain, self.resolution = generator, autoencoder, domain, resolution

    def numbers(self, key: Key, asked: np.ndarray | None, count: int, guidance: float) -> np.ndarray:
        """(count, K) of samples that are asked for `asked` (count, K), or for nothing; NaN of an empty one."""
        rows = []
        for start in range(0, count, BATCH):
            seeds = range(start, min(start + BATCH, count))
            part = None if asked is None else list(asked[start : start + BATCH].astype(np.float32))
            batch: dict[str, Any] = {} if part is None else {key: part}
            latents = self.generator(batch, seeds, 1.0 if asked is None else guidance)
            outputs = self.domain.decode(self.autoencoder, latents, self.resolution)
            assert isinstance(outputs, Shapes)
            rows += [measured(key, outputs[index]) for index in range(len(seeds))]
        return np.stack(rows)


def measured(key: Key, shape: Shapes) -> np.ndarray:
    points, normals = surface_points(shape.surface, POINTS, np.random.default_rng(0))
    return NUMBERS[key](points, normals) if len(points) else np.full(SIZES[key], np.nan)


def stored(data: str, keys: Sequence[Key], count: int) -> dict[Key, np.ndarray]:
    """Key → (N, K) of held-out shapes."""
    shards = open_shards(data, "heldout")
    transforms = [ShapeNumbers(key) for key in keys]
    batch = next(iter(HeldOut(shards, transforms, seed=0, batch_size=min(count, shards.samples), limit=count)))
    return {key: np.stack([np.asarray(one) for one in batch[key]]) for key in keys}


def run(arguments: argparse.Namespace) -> None:
    model = find_model(arguments.run, "outputs", "diffusion")[0]
    generator, autoencoder, label = load_diffusion(model, OmegaConf.create({"sampler": {"steps": arguments.steps}}))
    domain = load_domain(label, model)
    keys = [key for key in SIZES if key in generator.keys]
    if not keys or not isinstance(domain, ShapeDomain):
        raise UserError(f"{model.parent} reads none of {', '.join(SIZES)}: give a run that does")
    asked = stored(arguments.data or label["config"]["data"]["root"], keys, arguments.shapes)
    samples = Samples(generator, autoencoder, domain, arguments.resolution)
    rows = []
    for key in keys:
        wanted = asked[key]
        free = samples.numbers(key, None, len(wanted), 1.0)
        led = {scale: samples.numbers(key, wanted, len(wanted), scale) for scale in arguments.guidance}
        differences = [np.roll(wanted, 1, axis=0), free, *led.values()]
        rows.append([f"`{key}`", *(f"{np.nanmean(np.abs(one - wanted)):.3f}" for one in differences)])
        print(*rows[-1], flush=True)
    scales = [f"asked, guidance {scale:g}" for scale in arguments.guidance]
    table = markdown_table(["mean difference to what is asked", "another held-out shape", "not asked", *scales], rows)
    command = this_command()
    facts = (
        f"`{command}`: the numbers of\n{quantity(len(wanted), 'held-out shape')}, a sample for each and each key "
        f"alone, no prompt, {arguments.steps} sampler steps."
    )
    print(facts, table, sep="\n\n")
    if not arguments.dry:
        write_section(ROOT / "docs" / "conditioning.md", "asked-numbers", f"{facts}\n\n{table}")


def main() -> None:
    parser = run_parser(__doc__, "a finished run that reads numbers of shapes")
    parser.add_argument("--shapes", type=int, default=64)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--steps", type=int, default=16, help="of the sampler")
    parser.add_argument("--resolution", type=int, default=64)
    answer(run, parser)


if __name__ == "__main__":
    main()
