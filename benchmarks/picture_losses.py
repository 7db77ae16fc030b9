"""What `autoencoder_loss=picture_gan` changes: a finished autoencoder of pictures is trained on with three losses.

    python benchmarks/picture_losses.py outputs/image_autoencoder/<id> [--steps 1200] [key=value …]

`picture`, `picture_gan` without its discriminator, and `picture_gan`, for equally many steps on equal batches, by turns
in one process with one thread. The discriminator begins from nothing and learns alone for the first steps. Perceptual
and Fréchet distance are both read from features of EfficientNet-Lite0, and the second and third loss train on the
perceptual one: the Fréchet distance and the sheet are what they have not seen. The table, with the autoencoder as it
was, is written into docs/pictures.md, the first eight held-out pictures into docs/images/picture_losses.png.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from latent_quality import ROOT, markdown_table, write_section
from omegaconf import DictConfig
from picture_training import Training, heldout_figures, heldout_sheet, picture_config, train_by_turns, training

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.configuration.build import build
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.training.callbacks.budget import Budget

RATE, START, RAMP = 2e-4, 100, 200  # learning rate; steps of the discriminator alone, steps over which its weight grows
LOSSES = {
    "`picture`": ["autoencoder_loss=picture"],
    "… and perceptual distance": ["autoencoder_loss=picture_gan", "autoencoder_loss.adversary=null"],
    "… and discriminator (`picture_gan`)": [
        "autoencoder_loss=picture_gan",
        f"autoencoder_loss.adversary.start={START}",
        f"autoencoder_loss.adversary.ramp={RAMP}",
    ],
}


def trained_on(autoencoder: Autoencoder, steps: int, overrides: list[str]) -> list[Training]:
    """A copy of the autoencoder for each loss, after its steps."""
    sides = list[Training]()
    for name, own in LOSSES.items():
        config = picture_config([*own, f"training.autoencoder.optimizer.lr={RATE}", *overrides])
        torch.manual_seed(0)
        copied = copy.deepcopy(autoencoder).requires_grad_(True)
        sides.append(training(name, config, copied, build(config, "autoencoder_loss"), Budget(max_steps=steps)))
    train_by_turns(sides)
    return sides


def report(config: DictConfig, models: dict[str, Any], sides: list[Training], steps: int) -> str:
    pace = ["", *(f"{side.seconds / side.steps:.2f}" for side in sides)]
    figures = [heldout_figures(config, model) for model in models.values()]
    rows = [
        [name, seconds, *own.cells, f"{own.frechet:.1f}"]
        for name, seconds, own in zip(models, pace, figures, strict=True)
    ]
    facts = (
        f"`python benchmarks/picture_losses.py`: the autoencoder above, trained on for {steps:,} steps of "
        f"{config.training.autoencoder.batch_size} pictures with each loss, one thread, learning rate {RATE:g}; the "
        f"discriminator alone for {START} steps, its weight growing over {RAMP}. {figures[0].count} held-out pictures."
    )
    head = ["trained on with", "s / step", "PSNR", "SSIM", "perceptual distance", "Fréchet distance"]
    return f"{facts}\n\n{markdown_table(head, rows)}"


def run(folder: Path, steps: int, overrides: list[str], dry: bool) -> None:
    torch.set_num_threads(1)
    autoencoder, _ = load_autoencoder(folder / "model.ckpt")
    sides = trained_on(autoencoder, steps, overrides)
    config = picture_config(overrides)
    models = {"as it was": autoencoder, **{side.name: side.autoencoder for side in sides}}
    text = report(config, models, sides, steps)
    print(text)
    if not dry:
        write_section(ROOT / "docs" / "pictures.md", "losses", text)
        write_picture(heldout_sheet(config, models), ROOT / "docs" / "images" / "picture_losses.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of a finished autoencoder of pictures")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/ as they are")
    parser.add_argument("overrides", nargs="*", help="key=value for the configuration")
    arguments = parser.parse_args()
    run(arguments.run, arguments.steps, arguments.overrides, arguments.dry)


if __name__ == "__main__":
    main()
