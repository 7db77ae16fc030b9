"""Variants of `autoencoder=sparse`, each trained for the same processor time on one thread, measured alike.

    python benchmarks/sparse_variants.py --data shards/furniture [--minutes 10] [--limit 40] [--only base;…]

Each is trained by train.py, with a budget in processor time, so that other work on the machine takes nothing from it,
and measured by evaluate.py. Finished ones are not trained again. The table is printed and written into
docs/autoencoder.md, between its two marks.
"""

import argparse
import json
from pathlib import Path

from command_line import this_command
from short_trainings import ONE_THREAD, ROOT, newest_model, run, steps_of, write_between

PAGE = ROOT / "docs" / "autoencoder.md"
BEGIN, END = "<!-- sparse variants: begin -->", "<!-- sparse variants: end -->"
NEAR = "data.transforms.distances._target_=sparse_parts."
QUADRICS = [
    "autoencoder.field._target_=fieldforge.fields.quadric_field.QuadricField",
    "autoencoder.bottleneck.noise=0.015",
    "autoencoder.bottleneck.most=0.2",
    "training.autoencoder.optimizer.lr=7e-4",
]
NO_VIEWS = ["autoencoder_loss.view=0", "autoencoder_loss.opacity=0"]
POINTS = ["domain.points=16384", "data.transforms.surface.points=16384"]
SMALL = ["+autoencoder.encoder.sides=2", "autoencoder.encoder.width=96", "autoencoder.decoder.width=96"]
NORMALS = "autoencoder_loss._target_=sparse_parts.NormalLoss"
VARIANTS = {
    "base": ("as it is", []),
    "quadrics": ("exact quadrics, a third of the noise, half the learning rate", QUADRICS),
    "quadrics, rate 3e-4": (
        "… a fifth of the learning rate",
        [*QUADRICS, "training.autoencoder.optimizer.lr=3e-4"],
    ),
    "quadrics, noise 0.005": (
        "… a tenth of the noise",
        [*QUADRICS, "autoencoder.bottleneck.noise=0.005"],
    ),
    "quadrics, normals": ("… slope along normals in the loss", [*QUADRICS, NORMALS]),
    "quadrics, salient": (
        "… half of the near points where the surface bends",
        [*QUADRICS, f"{NEAR}SalientDistances"],
    ),
    "quadrics, cells 24": (
        "… 24³ cells of 3³ parts",
        [*QUADRICS, "autoencoder.encoder.cells=24", "autoencoder.field.sides=3"],
    ),
    "quadrics, cells 24, small": (
        "… 24³ cells, width 96 for 160, 2³ parts for the encoder",
        [*QUADRICS, "autoencoder.encoder.cells=24", "autoencoder.field.sides=3", *SMALL],
    ),
    "quadrics, cells 24, points": (
        "… 24³ cells of 3³ parts, twice the surface points",
        [*QUADRICS, "autoencoder.encoder.cells=24", "autoencoder.field.sides=3", *POINTS],
    ),
    "quadrics, cells 32, points": (
        "… 32³ cells of 2³ parts, twice the surface points",
        [*QUADRICS, "autoencoder.encoder.cells=32", "autoencoder.field.sides=2", *POINTS],
    ),
    "quadrics, no views": ("… neither views nor opacity in the loss", [*QUADRICS, *NO_VIEWS]),
    "rate 5e-4": ("a third of the learning rate", ["training.autoencoder.optimizer.lr=5e-4"]),
    "batch 8": ("half the batch, twice the steps", ["training.autoencoder.batch_size=8"]),
    "cells 24": ("24³ cells of 3³ parts", ["autoencoder.encoder.cells=24", "autoencoder.field.sides=3"]),
    "cells 12": ("12³ cells of 5³ parts", ["autoencoder.encoder.cells=12", "autoencoder.field.sides=5"]),
    "no views": ("neither views nor opacity in the loss", NO_VIEWS),
    "inside": ("half of the near points inside", [f"{NEAR}InsideDistances"]),
    "salient": ("half of the near points where the surface bends", [f"{NEAR}SalientDistances"]),
    "normals": ("slope along normals in the loss", [NORMALS]),
    "channels 24": ("24 channels a cell for 16", ["autoencoder.encoder.channels=24"]),
    "narrow clamp": ("distances clamped at 0.03 for 0.05", ["autoencoder_loss.clamp=0.03"]),
    "small": (
        "width 112 and 2 + 3 layers for 160 and 3 + 4",
        [
            "autoencoder.encoder.width=112",
            "autoencoder.encoder.layers=2",
            "autoencoder.decoder.width=112",
            "autoencoder.decoder.layers=3",
        ],
    ),
}


def measured(name: str, arguments: argparse.Namespace) -> str:
    """Trains and measures one variant: its row of the table."""
    overrides = VARIANTS[name][1]
    run_name = f"sparse_variant_{name.replace(',', '').replace(' ', '_')}"
    budget = "training.autoencoder.budget"
    run(
        "benchmarks/processor_minutes.py",
        "experiment=sparse_autoencoder",
        f"data.root={arguments.data}",
        f"name={run_name}",
        f"{budget}.max_minutes={arguments.minutes:g}",
        f"{budget}.min_steps=0",
        f"seed={arguments.seed}",
        "callbacks.pictures=null",
        *overrides,
        environment=ONE_THREAD,
    )
    newest = newest_model(run_name)
    report = newest.parent / "evaluation" / "heldout.json"
    if not report.is_file():
        run(
            "evaluate.py",
            f"run={newest.parent}",
            f"limit={arguments.limit}",
            "reconstruction.pictures=0",
            environment=ONE_THREAD,
        )
    return row(name, newest.parent)


def row(name: str, directory: Path) -> str:
    """The row of a variant, from what its run's directory holds."""
    figures = json.loads((directory / "evaluation" / "heldout.json").read_text())
    mean, median, thin = figures["mean"], figures["median"], figures["quarters"]["thickness"][0]
    cells = [
        name,
        VARIANTS[name][0],
        f"{steps_of(directory):,}",
        f"{mean['iou']:.3f} / {median['iou']:.3f}",
        f"{mean['f_score']:.3f}",
    ]
    cells += [f"{thin['iou']:.3f}", f"{thin['f_score']:.3f}", f"{mean['normal_consistency']:.3f}"]
    cells += [f"{mean['view_psnr']:.1f}", f"{mean['pieces']:.2f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shards/furniture")
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time")
    parser.add_argument("--limit", type=int, default=40, help="held-out assets to measure on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=";".join(VARIANTS), help="variants, with semicolons between them")
    arguments = parser.parse_args()
    rows = [measured(name, arguments) for name in arguments.only.split(";")]
    command = this_command()
    table = [
        f"`{command}`: {arguments.minutes:g} minutes of one thread's processor time each, first {arguments.limit} "
        "held-out assets; the thinnest quarter of them apart.",
        "",
        "| variant | what differs | steps | IoU, median | F@0.02 | IoU, thin | F, thin | normals | PSNR | pieces |",
        "|---" * 10 + "|",
        *rows,
    ]
    write_between(PAGE, BEGIN, END, table)


if __name__ == "__main__":
    main()
