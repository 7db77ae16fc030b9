"""Are held-out pictures enlarged sharper than by bicubic interpolation, and as truly?

    python benchmarks/upscaling.py outputs/image_upscale/<id>

Makes every held-out picture small, as the training does, and enlarges it by the model and by bicubic interpolation.
Beside them stands what the autoencoder makes of the whole picture, which no model of its latents surpasses. Measures
against the picture itself: PSNR, and the distance of features of EfficientNet-Lite0 (`autoencoder/perceptual.py`),
which is large where a picture is blurred. Writes the figures into docs/pictures.md and the first eight held-out
pictures to docs/images/upscaling.png.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from latent_quality import ROOT, markdown_table, write_section
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from fieldforge.autoencoder.perceptual import PerceptualDistance
from fieldforge.data.heldout import HeldOut
from fieldforge.data.image_transforms import Coarse
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta, Transform
from fieldforge.domains.domain import Outputs
from fieldforge.domains.image import ImageDomain
from fieldforge.domains.picture_outputs import Pictures
from fieldforge.errors import UserError
from fieldforge.generation import Generator
from fieldforge.metrics.reconstruction import peak_signal_to_noise
from fieldforge.rendering.pictures import write_picture
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain

AT_A_TIME, SHOWN, CELL = 29, 8, 128
Pixels = np.ndarray
"""Pictures (N, H, W, 3), sRGB in 0…1."""


def pixels_of(pictures: Tensor) -> Pixels:
    """(N, 3, H, W) in -1…1."""
    return ((pictures + 1) / 2).permute(0, 2, 3, 1).numpy()


def decoded(outputs: Outputs) -> Pixels:
    assert isinstance(outputs, Pictures)
    return outputs.pixels


def bicubic(small: Pixels, size: int) -> Pixels:
    """Enlarged to size² pixels."""
    images = [Image.fromarray(np.round(one * 255).astype(np.uint8)) for one in small]
    large = [np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in images]
    return np.stack(large).astype(np.float32) / 255


def enlarged(generator: Generator, coarse: Tensor, seed: int, scale: float) -> Tensor:
    """Latents (N, T, C) for small pictures (N, T, 3); picture i has seed `seed` + i."""
    parts = []
    for start in range(0, len(coarse), AT_A_TIME):
        part = coarse[start : start + AT_A_TIME]
        seeds = [seed + start + index for index in range(len(part))]
        parts.append(generator({"coarse": part}, seeds, scale))
        print(f"{start + len(part)}/{len(coarse)} pictures", flush=True)
    return torch.cat(parts)


def figures(pictures: Pixels, truth: Pixels, distance: PerceptualDistance) -> tuple[float, float]:
    """Mean PSNR in dB and perceptual distance."""
    ratios = [peak_signal_to_noise(one, true) for one, true in zip(pictures, truth, strict=True)]
    these, those = (torch.from_numpy(part).permute(0, 3, 1, 2).float() * 2 - 1 for part in (pictures, truth))
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(these), AT_A_TIME):
            part = slice(start, start + AT_A_TIME)
            total += float(distance(these[part], those[part])) * len(these[part])
    return float(np.mean(ratios)), total / len(these)


def sheet(columns: Mapping[str, Pixels], names: list[str]) -> Image.Image:
    """A row for each of the first pictures."""
    rows = [
        [Image.fromarray(np.round(column[row].clip(0, 1) * 255).astype(np.uint8)) for column in columns.values()]
        for row in range(len(names))
    ]
    large = [[image.resize((CELL, CELL), Image.Resampling.NEAREST) for image in row] for row in rows]
    return picture_sheet(large, [name.replace("_", " ") for name in names], list(columns), cell=CELL)


@dataclass(frozen=True)
class HeldOutPictures:
    """All of them: `pictures` (N, 3, H, W) and `coarse` (N, T, 3) in -1…1, and their names."""

    pictures: Tensor
    coarse: Tensor
    names: list[str]

    @property
    def small(self) -> Pixels:
        side = math.isqrt(self.coarse.shape[1])
        return pixels_of(self.coarse.transpose(1, 2).unflatten(2, (side, side)))

    @classmethod
    def read(cls, root: str, domain: ImageDomain, factor: int) -> HeldOutPictures:
        transforms: list[Transform] = [*domain.input_transforms(), Coarse(domain.size, factor), Meta()]
        batches = list(HeldOut(open_shards(root, "heldout"), transforms, seed=0, batch_size=AT_A_TIME))
        pictures, coarse = (torch.cat([batch[key] for batch in batches]) for key in ("input", "coarse"))
        return cls(pictures, coarse, [meta["name"] for batch in batches for meta in batch["meta"]])


def table(sets: Mapping[str, Pixels], truth: Pixels) -> str:
    distance = PerceptualDistance()
    numbers = {name: figures(pixels, truth, distance) for name, pixels in sets.items()}
    rows = [[name, f"{ratio:.2f}", f"{far:.4f}"] for name, (ratio, far) in numbers.items()]
    return markdown_table([f"{len(truth)} pictures", "PSNR (dB)", "perceptual distance"], rows)


def run(arguments: argparse.Namespace) -> None:
    model = Path(arguments.run) / "model.ckpt"
    generator, autoencoder, label = load_diffusion(model, OmegaConf.create({"sampler": {"steps": arguments.steps}}))
    domain = load_domain(label, model)
    if not isinstance(domain, ImageDomain) or generator.keys != {"coarse"}:
        raise UserError(f"{arguments.run} enlarges no pictures: give a run of experiment=image_upscale")
    factor = label["config"]["latent_data"]["transforms"]["coarse"]["transform"]["factor"]
    held = HeldOutPictures.read(arguments.data or label["config"]["data"]["root"], domain, factor)
    truth, small = pixels_of(held.pictures), held.small

    def drawn(coarse: Tensor, seed: int) -> Pixels:
        return decoded(domain.decode(autoencoder, enlarged(generator, coarse, seed, arguments.guidance)))

    sets = {
        "enlarged by the model": drawn(held.coarse, 0),
        "bicubic": bicubic(small, domain.size),
        "the autoencoder's own": decoded(domain.reconstruct(autoencoder, held.pictures)),
    }
    text = (
        f"![The first {SHOWN} held-out emoji: small, bicubic, two seeds, true](images/upscaling.png)\n\n"
        f"{len(truth)} held-out emoji, {small.shape[1]}² pixels → {domain.size}², {arguments.steps} sampler steps,\n"
        f"guidance {arguments.guidance:g}, one seed each; the model trained for {label['steps']:,} steps. The picture\n"
        f"shows the first {SHOWN}; nobody picked any.\n\n{table(sets, truth)}"
    )
    print(text)
    if not arguments.dry:
        write_section(ROOT / "docs" / "pictures.md", "upscaling", text)
        seeds = {"one seed": sets["enlarged by the model"], "another": drawn(held.coarse[:SHOWN], 1000)}
        columns = {"small": small, "bicubic": sets["bicubic"], **seeds, "true": truth}
        write_picture(sheet(columns, held.names[:SHOWN]), ROOT / "docs" / "images" / "upscaling.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="directory of a finished run of experiment=image_upscale")
    parser.add_argument("--data", help="sample shards; those of the run's configuration")
    parser.add_argument("--steps", type=int, default=16, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/ as they are")
    try:
        run(parser.parse_args())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
