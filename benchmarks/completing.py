"""Is the half of a picture that a mask takes away drawn so that it goes with the half that stays?

    python benchmarks/completing.py outputs/image_latent/<id>

The right half of training pictures is drawn anew from their names, three seeds each, as `sample.py from= mask=` does.
Measures how often the training picture nearest to the whole is the true one, beside the same of the pictures whose
right half is left white, and the difference of the drawn half from the true one. The names are the first of those that
benchmarks/pictures.py asks for. Writes the figures into docs/pictures.md and the first of the pictures to
docs/images/completed.png.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from command_line import answer, run_parser
from latent_quality import ROOT, markdown_table, write_section
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta
from fieldforge.domains.domain import Domain
from fieldforge.domains.image import ImageDomain, image_of
from fieldforge.domains.picture_outputs import Pictures
from fieldforge.generation import Generator
from fieldforge.metrics.reconstruction import peak_signal_to_noise
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain

SEEDS, SHOWN, CELL = 3, 4, 128


def named_pictures(domain: Domain, root: str, count: int) -> tuple[Tensor, list[str], list[int], Tensor]:
    """`input` (count, 3, H, W) of training pictures, their names and places, and `input` of all training pictures."""
    shards = open_shards(root, "train")
    batch = next(iter(HeldOut(shards, [*domain.input_transforms(), Meta()], seed=0, batch_size=shards.samples)))
    names = [str(meta["name"]) for meta in batch["meta"]]
    distinct = sorted(set(names))
    prompts = [distinct[index] for index in np.random.default_rng(0).permutation(len(distinct))[:count]]
    places = [names.index(name) for name in prompts]
    return batch["input"][places], prompts, places, batch["input"]


def completed(generator: Generator, known: Tensor, names: list[str], scale: float) -> list[Tensor]:
    """Latents (B, T, C) of each seed; the right half of the `known` ones (B, T, C) is drawn."""
    assert generator.latent_shape.grid is not None
    height, width = generator.latent_shape.grid
    anew = (torch.arange(width) >= width // 2).expand(height, width).flatten()  # (T,)
    columns = []
    for seed in range(SEEDS):
        steering = generator.steering({"caption": names}, len(names), scale)
        noise = generator.noise([seed] * len(names))
        columns.append(generator.draw(steering, noise, [seed] * len(names), known, anew=anew))
        print(f"seed {seed}", flush=True)
    return columns


@dataclass(frozen=True)
class Completed:
    """Training pictures of which the right half was drawn.

    truth: `input` (N, 3, H, W); blank: the same with a white right half. drawn: of each seed. marks: signatures of all
    training pictures; places: where those of `truth` are among them.
    """

    domain: ImageDomain
    truth: Tensor
    blank: Tensor
    drawn: list[Pictures]
    marks: list[np.ndarray]
    places: list[int]

    def row(self, name: str, signatures: list[np.ndarray], pictures: list[np.ndarray]) -> list[str]:
        """How often the nearest is the true one, and PSNR of the right half of pictures (N, H, W, 3), set by set."""
        hits = self.domain.nearest(signatures, self.marks) == np.resize(self.places, len(signatures))
        half, true = self.truth.shape[-1] // 2, pixels_of(self.truth)
        pairs = [pair for part in pictures for pair in zip(part[:, :, half:], true[:, :, half:], strict=True)]
        ratio = np.mean([peak_signal_to_noise(*pair) for pair in pairs])
        return [name, f"{np.mean(hits):.0%}", f"{ratio:.1f}"]

    def table(self) -> str:
        white = self.domain.stored_signatures({"input": self.blank})
        drawn = [mark for one in self.drawn for mark in self.domain.signatures(one)]
        rows = [
            self.row("white", white, [pixels_of(self.blank)]),
            self.row("drawn", drawn, [one.pixels for one in self.drawn]),
        ]
        return markdown_table(
            ["right half", "nearest training picture is the true one", "PSNR of that half (dB)"], rows
        )

    def sheet(self, names: list[str]) -> Image.Image:
        columns = [[image_of(one) for one in part[:SHOWN]] for part in (self.truth, self.blank)]
        columns += [[one[index].picture(CELL) for index in range(SHOWN)] for one in self.drawn]
        rows = [
            [image.resize((CELL, CELL), Image.Resampling.NEAREST) for image in row]
            for row in zip(*columns, strict=True)
        ]
        heads = ["true", "kept", *(f"seed {seed}" for seed in range(SEEDS))]
        return picture_sheet(rows, [name.replace("_", " ") for name in names[:SHOWN]], heads, cell=CELL)


def pixels_of(pictures: Tensor) -> np.ndarray:
    """`input` (N, 3, H, W) → (N, H, W, 3), sRGB in 0…1."""
    return ((pictures + 1) / 2).permute(0, 2, 3, 1).numpy()


def run(arguments: argparse.Namespace) -> None:
    model, steps = Path(arguments.run) / "model.ckpt", OmegaConf.create({"sampler": {"steps": arguments.steps}})
    generator, autoencoder, label = load_diffusion(model, steps)
    domain, root = load_domain(label, model), arguments.data or label["config"]["data"]["root"]
    assert isinstance(domain, ImageDomain)
    truth, names, places, everything = named_pictures(domain, root, arguments.pictures)
    blank = truth.clone()
    blank[..., truth.shape[-1] // 2 :] = 1
    with torch.no_grad():
        latents = completed(generator, autoencoder.encode({"input": truth}), names, arguments.guidance)
        drawn = [domain.outputs(autoencoder.field, autoencoder.decode(part)) for part in latents]
    whole = Completed(domain, truth, blank, drawn, domain.stored_signatures({"input": everything}), places)
    facts = (
        f"`python benchmarks/completing.py`: {len(names)} training emoji × {SEEDS} seeds, the right half drawn\n"
        f"from the name, {arguments.steps} sampler steps, guidance {arguments.guidance:g}. The picture shows the\n"
        f"first {SHOWN}; nobody picked any."
    )
    picture = f"![The first {SHOWN} pictures: true, what is kept, {SEEDS} seeds](images/completed.png)"
    text = "\n\n".join([picture, facts, whole.table()])
    print(text)
    if not arguments.dry:
        write_section(ROOT / "docs" / "pictures.md", "completing", text)
        write_picture(whole.sheet(names), ROOT / "docs" / "images" / "completed.png")


def main() -> None:
    parser = run_parser(__doc__, "a finished text-conditioned run of pictures")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--steps", type=int, default=16, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=3.0)
    answer(run, parser)


if __name__ == "__main__":
    main()
