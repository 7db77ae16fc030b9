"""`autoencoder=kl` beside diffusers' `AutoencoderKL` of equal parameters and latents.

    python benchmarks/picture_autoencoders.py [--minutes 8] [key=value …]

Loss, data and their order, optimiser and processor time are the same. Both are trained by turns in one process with one
thread: the side whose clock is behind takes the next step, and a clock runs during the steps of its side. The loss is
L1 of pixels and KL at the weight of `experiment=image_autoencoder`. diffusers' model gets the memory format in which
its steps are faster. Further arguments go to the configuration. The table is printed and written into docs/pictures.md.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from latent_quality import ROOT, markdown_table, write_section
from omegaconf import DictConfig
from picture_training import Training, heldout_figures, parameters, picture_config, train_by_turns, training
from torch import nn

from fieldforge.autoencoder.autoencoder import Autoencoder, Batch
from fieldforge.autoencoder.bottleneck import Terms
from fieldforge.autoencoder.picture_loss import PictureLoss
from fieldforge.configuration.build import build
from fieldforge.fields.base import Params
from fieldforge.fields.picture import PictureGrid
from fieldforge.noise.randomness import Randomness, normal
from fieldforge.training.callbacks.budget import Budget

WIDTHS, LAYERS, GROUPS = (32, 64, 64), 2, 8  # of diffusers' model, which give it the parameters of ours within 1 %
PROBE = 6  # steps, by which its memory format is chosen
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


class Reference(nn.Module):
    """diffusers' `AutoencoderKL` as a loss of Fieldforge's sees an autoencoder."""

    def __init__(self, size: int, channels: int):
        super().__init__()
        count = len(WIDTHS)
        self.field = PictureGrid(size)
        self.model: Any = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * count, up_block_types=("UpDecoderBlock2D",) * count,
            block_out_channels=WIDTHS, layers_per_block=LAYERS, norm_num_groups=GROUPS, latent_channels=channels,
            sample_size=size,
        )  # fmt: skip

    def forward(self, batch: Batch, randomness: Randomness | None = None) -> tuple[Params, Terms]:
        """`input` (B, 3, H, W) → `pixels` (B, H · W, 3), and the mean divergence of a latent number."""
        latent = self.model.encode(batch["input"]).latent_dist
        mean, variance = latent.mean.float(), latent.var.float()  # (B, C, h, w) each
        kl = 0.5 * (mean.square() + variance - 1 - variance.log()).mean()
        if self.training:
            assert randomness is not None
            mean = mean + variance.sqrt() * normal(mean.shape, randomness)
        return {"pixels": self.model.decode(mean).sample.flatten(2).transpose(1, 2)}, {"kl": kl}


def reference(config: DictConfig, ours: Autoencoder, loss: PictureLoss) -> tuple[Reference, str]:
    """diffusers' model of our latents in the memory format in which its steps are faster, and that format's name."""
    assert isinstance(ours.field, PictureGrid)
    pace: dict[str, float] = {}
    for name, order in FORMATS.items():
        model = Reference(ours.field.size, ours.latent_shape.channels)
        probe = training(name, config, model.to(memory_format=order), loss, Budget(max_steps=PROBE))  # type: ignore
        times = [0.0]
        while not probe.is_over:
            probe.step()
            times.append(probe.seconds)
        pace[name] = float(np.diff(times).min())
    print("a step of diffusers' takes " + ", ".join(f"{1000 * pace[name]:.0f} ms {name}" for name in pace), flush=True)
    best = min(pace, key=lambda name: pace[name])
    torch.manual_seed(0)
    model = Reference(ours.field.size, ours.latent_shape.channels)
    return model.to(memory_format=FORMATS[best]), best  # type: ignore[call-overload]


def run(minutes: float, overrides: list[str], dry: bool) -> None:
    torch.set_num_threads(1)
    config = picture_config(overrides)
    loss, budget = PictureLoss(edges=0.0, kl=config.autoencoder_loss.kl), Budget(max_steps=10**9, max_minutes=minutes)
    torch.manual_seed(0)
    ours: Autoencoder = build(config, "autoencoder")
    theirs, order = reference(config, ours, loss)
    sides = [
        training("`autoencoder=kl`", config, ours, loss, budget),
        training(f"diffusers' `AutoencoderKL`, {order}", config, theirs, loss, budget),
    ]
    share = parameters(theirs) / parameters(ours)
    assert abs(share - 1) < 0.05, f"diffusers' model has {share:.2f} of the parameters: choose other WIDTHS"
    train_by_turns(sides)
    text = report(config, sides, minutes)
    print(text)
    if not dry:
        write_section(ROOT / "docs" / "pictures.md", "autoencoders", text)


def report(config: DictConfig, sides: list[Training], minutes: float) -> str:
    batch, rows, count = config.training.autoencoder.batch_size, [], 0
    for side in sides:
        figures = heldout_figures(config, side.autoencoder)
        count, pace = figures.count, side.steps * batch / side.seconds
        size = f"{parameters(side.autoencoder) / 1e6:.3f} M"
        rows.append([side.name, size, f"{side.steps:,}", f"{pace:.1f}", *figures.cells])
    head = ["trained", "parameters", "steps", "pictures / s", "PSNR", "SSIM", "perceptual distance"]
    facts = (
        f"`python benchmarks/picture_autoencoders.py`: {minutes:g} minutes of processor time each, by turns, one "
        f"thread, batches of {batch}, L1 and {config.autoencoder_loss.kl:g} KL; {count} held-out pictures."
    )
    return f"{facts}\n\n{markdown_table(head, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--dry", action="store_true", help="print only, leave docs/ as they are")
    parser.add_argument("overrides", nargs="*", help="key=value for the configuration")
    arguments = parser.parse_args()
    run(arguments.minutes, arguments.overrides, arguments.dry)


if __name__ == "__main__":
    main()
