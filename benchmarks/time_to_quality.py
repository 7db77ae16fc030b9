"""Minutes of training until shapes are good: the former default (`planes_latent`) beside today's (`furniture_latent`).

    python benchmarks/time_to_quality.py --data shards/furniture [--autoencoder 24] [--diffusion 20]

Both have the same minutes, of one thread's processor time: other work on the machine takes nothing from them, and the
clock stands still while they are measured. The autoencoder of `furniture_latent` divides its minutes, a third for
sparse latents and the rest for compact ones. Measured: IoU of the first 32 held-out assets, every minute; for how many
of 24 prompts, at guidance 3, the nearest training shape is of the prompted class, every two minutes. The table is
printed and written into docs/autoencoder.md, between its two marks. Finished trainings are not repeated.
"""

import argparse
import csv
from pathlib import Path

from command_line import this_command
from short_trainings import ONE_THREAD, ROOT, finished_models, newest_model, run, steps_of, write_between

PAGE = ROOT / "docs" / "autoencoder.md"
BEGIN, END = "<!-- time to quality: begin -->", "<!-- time to quality: end -->"
IOU, NAME, CLASS = (0.60, 0.70), 0.70, 0.80


def train(experiment: str, root: str, *overrides: str) -> None:
    run(
        "benchmarks/processor_minutes.py",
        f"experiment={experiment}",
        f"data.root={root}",
        "callbacks.pictures=null",
        f"+callbacks.iou={{_target_:quality_clock.HeldOutIoU,root:{root},every_minutes:1}}",
        "+callbacks.agreement={_target_:quality_clock.PromptAgreement,every_minutes:2}",
        *overrides,
        environment=ONE_THREAD,
    )


def to_reach(directory: Path, column: int, bar: float) -> str:
    """Minutes until `quality.csv` first reaches the bar in that column, and the best value where it never does."""
    with open(directory / "quality.csv", newline="") as file:
        rows = [[float(value) for value in row] for row in csv.reader(file)]
    reached = [row[0] for row in rows if row[column] >= bar]
    return f"{min(reached):.0f}" if reached else f"never; best {max(row[column] for row in rows):.3f}"


def row(label: str, directory: Path, batch_size: int, minutes: float, bars: list[tuple[int, float]]) -> str:
    steps = steps_of(directory)
    cells = [label, f"{minutes:g}", f"{steps:,}", f"{steps * batch_size / minutes / 60:.1f}"]
    return "| " + " | ".join([*cells, *(to_reach(directory, column, bar) for column, bar in bars)]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="shards/furniture")
    parser.add_argument("--autoencoder", type=float, default=24.0, help="minutes of processor time")
    parser.add_argument("--diffusion", type=float, default=20.0, help="minutes of processor time")
    arguments = parser.parse_args()
    whole, diffusion = arguments.autoencoder, arguments.diffusion
    common = [
        "training.autoencoder.budget.min_steps=0",
        f"training.diffusion.budget.max_minutes={diffusion:g}",
        "training.diffusion.budget.min_steps=0",
    ]
    train(
        "furniture_latent",
        arguments.data,
        f"phases.sparse.training.budget.max_minutes={whole / 3:g}",
        "phases.sparse.training.budget.min_steps=0",
        f"training.autoencoder.budget.max_minutes={2 * whole / 3:g}",
        *common,
    )
    train("planes_latent", arguments.data, f"training.autoencoder.budget.max_minutes={whole:g}", *common)
    sparse, compact = (model.parent for model in finished_models("furniture_autoencoder")[-2:])
    ious, shares = [(2, bar) for bar in IOU], [(2, NAME), (3, CLASS)]
    command = this_command()
    table = [
        f"`{command}`: minutes of one thread's processor time.",
        "",
        "| autoencoder | minutes | steps | samples/s | to IoU 0.60 | to IoU 0.70 |",
        "|---" * 6 + "|",
        row("`planes`", newest_model("planes_autoencoder").parent, 16, whole, ious),
        row("`sparse`", sparse, 16, whole / 3, ious),
        row("… then `compact`", compact, 32, 2 * whole / 3, ious),
        "",
        "| diffusion over | minutes | steps | samples/s | to name 70 % | to class 80 % |",
        "|---" * 6 + "|",
        row("`planes`", newest_model("planes_latent").parent, 32, diffusion, shares),
        row("`compact`", newest_model("furniture_latent").parent, 64, diffusion, shares),
    ]
    write_between(PAGE, BEGIN, END, table)


if __name__ == "__main__":
    main()
