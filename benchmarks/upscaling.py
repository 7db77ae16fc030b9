"""Are held-out pictures enlarged sharper than by bicubic interpolation, and as truly?

    python benchmarks/upscaling.py outputs/image_upscale/<id>

The figures of `python evaluate.py`: every held-out picture is made small, as the training does, and enlarged by the
model and by bicubic interpolation. Beside them stands what the autoencoder makes of the whole picture, which no model
of its latents surpasses. Writes the figures into docs/pictures.md and the first eight held-out pictures to
docs/images/upscaling.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line import answer, run_parser
from latent_quality import ROOT, markdown_table, write_section

from fieldforge.errors import UserError
from fieldforge.evaluation.enlargements import EnlargementJudge
from fieldforge.evaluation.evaluation_report import columns_of, figures_of
from fieldforge.evaluation.settings import EnlargingSettings
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain

SHOWN, CELL = 8, 128


def run(arguments: argparse.Namespace) -> None:
    model = Path(arguments.run) / "model.ckpt"
    generator, autoencoder, label = load_diffusion(model)
    if "coarse" not in generator.keys:
        raise UserError(f"{arguments.run} enlarges no pictures: give a run of experiment=image_upscale")
    settings = EnlargingSettings(None, arguments.guidance, arguments.steps, SHOWN, CELL, batch_size=29)
    judge = EnlargementJudge(generator, autoencoder, load_domain(label, model), settings)
    samples = judge.heldout(label, arguments.data or label["config"]["data"]["root"])
    outputs = judge.outputs(samples)
    figures = figures_of(columns_of(judge.domain, outputs, samples["input"]))["mean"]
    count, size = len(samples["input"]), samples["input"].shape[-1]
    side = round(samples["coarse"].shape[1] ** 0.5)
    rows = [
        [way, f"{own['psnr']:.2f}", f"{own['ssim']:.3f}", f"{own['perceptual']:.4f}"] for way, own in figures.items()
    ]
    table = markdown_table([f"{count} pictures", "PSNR (dB)", "SSIM", "perceptual distance"], rows)
    text = (
        f"![The first {SHOWN} held-out emoji: bicubic, two seeds, true](images/upscaling.png)\n\n"
        f"{count} held-out emoji, {side}² pixels → {size}², {arguments.steps} sampler steps,\n"
        f"guidance {arguments.guidance:g}, one seed each; the model trained for {label['steps']:,} steps. The picture\n"
        f"shows the first {SHOWN}; nobody picked any.\n\n{table}"
    )
    print(text)
    if not arguments.dry:
        write_section(ROOT / "docs" / "pictures.md", "upscaling", text)
        write_picture(judge.sheet(outputs, samples), ROOT / "docs" / "images" / "upscaling.png")


def main() -> None:
    parser = run_parser(__doc__, "a finished run of experiment=image_upscale")
    parser.add_argument("--steps", type=int, default=16, help="of the sampler")
    parser.add_argument("--guidance", type=float, default=1.0)
    answer(run, parser)


if __name__ == "__main__":
    main()
