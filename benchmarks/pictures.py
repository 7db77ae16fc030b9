"""Text to picture: does a trained model draw what it is asked for, and do its pictures look like the true ones?

    python benchmarks/pictures.py outputs/image_latent/<id>

Asks for names of training pictures that a seed draws, several seeds each. Measures in features of EfficientNet-Lite0:

- retrieval: how often the training picture nearest to a generated one bears the prompted name, against chance;
- Fréchet and kernel distance (KID) to the training pictures, of the generated pictures, of as many decoded from
  Gaussian noise instead of generated latents, and of as many reconstructed training pictures. Fréchet distances depend
  on how many pictures there are: only these three can be compared.

Writes the figures into docs/pictures.md and the first 24 prompts, three seeds each, to docs/images/emoji.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command_line import answer, run_parser
from latent_quality import ROOT, markdown_table, write_section
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.domains.domain import Domain
from fieldforge.generation import Generator
from fieldforge.metrics.agreement import agreement
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.sample_judge import stored_samples

AT_A_TIME, SHOWN, COLUMNS, CELL = 32, 24, 8, 96


def generated_latents(generator: Generator, prompts: Sequence[str], seeds: int, scale: float) -> Tensor:
    """Latents (prompts · seeds, T, C); the seeds of a prompt follow each other."""
    jobs = [(prompt, seed) for prompt in prompts for seed in range(seeds)]
    parts = []
    for start in range(0, len(jobs), AT_A_TIME):
        part = jobs[start : start + AT_A_TIME]
        parts.append(generator({"caption": [prompt for prompt, _ in part]}, [seed for _, seed in part], scale))
        print(f"{start + len(part)}/{len(jobs)} pictures", flush=True)
    return torch.cat(parts)


def training_latents(domain: Domain, autoencoder: Autoencoder, root: Any, count: int) -> Tensor:
    """Latents (count, T, C) of the first training pictures."""
    samples = HeldOut(open_shards(root, "train"), domain.input_transforms(), seed=0, batch_size=AT_A_TIME, limit=count)
    with torch.no_grad():
        return torch.cat([autoencoder.encode(batch) for batch in samples])


def grid(pictures: Sequence[Image.Image], prompts: Sequence[str], seeds: int) -> Image.Image:
    """Blocks of `COLUMNS` prompts, a row for each seed; pictures in the order of `generated_latents`."""
    blocks = []
    for first in range(0, len(prompts), COLUMNS):
        columns = range(first, min(first + COLUMNS, len(prompts)))
        rows = [[pictures[column * seeds + seed] for column in columns] for seed in range(seeds)]
        blocks.append(picture_sheet(rows, None, [prompts[column].replace("_", " ") for column in columns], cell=CELL))
    whole = Image.new("RGB", (max(block.width for block in blocks), sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        whole.paste(block, (0, top))
        top += block.height
    return whole


@dataclass(frozen=True)
class Comparison:
    """Pictures against the training pictures: of generated latents, of noise, and of training latents."""

    domain: Domain
    autoencoder: Autoencoder
    metas: Sequence[Mapping[str, Any]]
    truth: Sequence[np.ndarray]
    """Signatures of the training pictures."""

    def retrieval(self, signatures: Sequence[np.ndarray], names: Sequence[str]) -> str:
        figures = agreement(self.domain.nearest(signatures, self.truth), names, [meta["name"] for meta in self.metas])
        return (
            f"Retrieval: the nearest of {len(self.metas)} training pictures bears the prompted name for "
            f"{figures.share:.1%} of the pictures, by chance {figures.chance:.3%}: {figures.lift:.0f} times as often."
        )

    def distances(self, signatures: Mapping[str, Sequence[np.ndarray]]) -> str:
        """A table of several sets, all of equal size."""
        numbers = {name: self.domain.compare_sets(own, self.truth) for name, own in signatures.items()}
        rows = [[name, f"{own['frechet']:.1f}", f"{own['kernel']:.3f}"] for name, own in numbers.items()]
        share = numbers["generated"]["frechet"] / numbers["decoded from noise"]["frechet"]
        head = [f"{len(signatures['generated'])} pictures", "Fréchet distance", "kernel distance"]
        table = markdown_table(head, rows)
        return f"{table}\n\nThe Fréchet distance of generated pictures is {share:.2f} of that of noise."


def run(arguments: argparse.Namespace) -> None:
    folder, seeds = Path(arguments.run), arguments.seeds
    overrides = OmegaConf.create({"sampler": {"steps": arguments.steps}})
    generator, autoencoder, label = load_diffusion(folder / "model.ckpt", overrides)
    domain = load_domain(label, folder / "model.ckpt")
    root = arguments.data or label["config"]["data"]["root"]
    comparison = Comparison(domain, autoencoder, *stored_samples(domain, root))
    names = sorted({str(meta["name"]) for meta in comparison.metas})
    prompts = [names[index] for index in np.random.default_rng(0).permutation(len(names))[: arguments.prompts]]

    latents = {"generated": generated_latents(generator, prompts, seeds, arguments.guidance)}
    shape = latents["generated"].shape
    latents["decoded from noise"] = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    latents["reconstructed training pictures"] = training_latents(domain, autoencoder, root, shape[0])
    outputs = {name: domain.decode(autoencoder, value) for name, value in latents.items()}
    signatures = {name: domain.signatures(pictures) for name, pictures in outputs.items()}
    facts = (
        f"{len(prompts)} prompts × {seeds} seeds, {arguments.steps} steps of the sampler, guidance "
        f"{arguments.guidance:g}; the model trained for {label['steps']:,} steps."
    )
    retrieval = comparison.retrieval(signatures["generated"], [prompt for prompt in prompts for _ in range(seeds)])
    text = "\n\n".join([facts, retrieval, comparison.distances(signatures)])
    print(text)
    if not arguments.dry:
        write_section(ROOT / "docs" / "pictures.md", "figures", text)
        shown = [outputs["generated"][index].picture(CELL) for index in range(len(prompts[:SHOWN]) * seeds)]
        write_picture(grid(shown, prompts[:SHOWN], seeds), ROOT / "docs" / "images" / "emoji.png")


def main() -> None:
    parser = run_parser(__doc__, "a finished text-conditioned run of pictures")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=3.0)
    answer(run, parser)


if __name__ == "__main__":
    main()
