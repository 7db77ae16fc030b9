"""Equal short trainings of every autoencoder design, measured on the same held-out assets.

    python benchmarks/autoencoder_designs.py [--minutes 6] [--only planes,sparse] [key=value …]

Each design is trained by train.py for the same minutes of one thread's processor time, so that other work on the
machine takes nothing from it, and measured by evaluate.py. Those that have an experiment have its settings, the others
those of `planes_autoencoder`. Further arguments go to train.py. Finished designs are not trained again. The table is
printed and written into docs/autoencoder.md, between its two marks.
"""

import argparse
import json

import torch
from command_line import this_command
from short_trainings import ONE_THREAD, ROOT, newest_model, run, steps_of, write_between

PAGE = ROOT / "docs" / "autoencoder.md"
BEGIN, END = "<!-- designs: begin -->", "<!-- designs: end -->"
DESIGNS = ("planes", "lattice", "shap_e_small", "vector_set", "sparse", "quadrics")
EXPERIMENTS = {"sparse": "sparse_autoencoder", "quadrics": "quadric_autoencoder"}


def measured(design: str, minutes: float, overrides: list[str], limit: int) -> str:
    """Trains and measures one design: its row of the table."""
    name = f"design_{design}"
    run(
        "benchmarks/processor_minutes.py",
        f"experiment={EXPERIMENTS.get(design, 'planes_autoencoder')}",
        *([] if design in EXPERIMENTS else [f"autoencoder={design}"]),
        f"name={name}",
        f"training.autoencoder.budget.max_minutes={minutes}",
        "training.autoencoder.budget.min_steps=0",
        "callbacks.pictures=null",
        *overrides,
        environment=ONE_THREAD,
    )
    newest = newest_model(name)
    run("evaluate.py", f"run={newest.parent}", f"limit={limit}", "reconstruction.pictures=0")
    report = json.loads((newest.parent / "evaluation" / "heldout.json").read_text())
    mean, median = report["mean"], report["median"]
    weights = torch.load(newest, map_location="cpu", weights_only=True)["state_dict"]
    parameters = sum(tensor.numel() for tensor in weights.values())
    cells = [f"`autoencoder={design}`", f"{parameters / 1e6:.1f} M", f"{steps_of(newest.parent):,}"]
    cells += [f"{mean['iou']:.3f} / {median['iou']:.3f}", f"{mean['f_score']:.3f}", f"{mean['chamfer_l1']:.3f}"]
    cells += [f"{mean['normal_consistency']:.3f}", f"{mean['view_psnr']:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6.0, help="of processor time")
    parser.add_argument("--limit", type=int, default=40, help="held-out assets to measure on")
    parser.add_argument("--only", default=",".join(DESIGNS), help="designs, comma-separated")
    parser.add_argument("overrides", nargs="*", help="key=value for train.py")
    arguments = parser.parse_args()
    designs = arguments.only.split(",")
    rows = [measured(design, arguments.minutes, arguments.overrides, arguments.limit) for design in designs]
    command = this_command()
    table = [
        f"`{command}`: {arguments.minutes:g} minutes of one thread's processor time each, batches of 16, first "
        f"{arguments.limit} held-out assets.",
        "",
        "| design | parameters | steps | IoU mean / median | F@0.02 | Chamfer L1 | normals | view PSNR |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    write_between(PAGE, BEGIN, END, table)


if __name__ == "__main__":
    main()
