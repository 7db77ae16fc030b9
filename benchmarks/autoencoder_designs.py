"""Equal short trainings of every autoencoder design, measured on the same held-out assets.

    python benchmarks/autoencoder_designs.py [--minutes 4] [key=value …]

Each design is trained by train.py for the same minutes of wall clock, one after the other on an otherwise quiet
machine, and measured by evaluate.py. Further arguments go to train.py. Finished designs are not trained again. The
table is printed and written into docs/autoencoder.md, between its two marks.
"""

import argparse
import json
import sys

import torch
from short_trainings import ROOT, newest_model, run, steps_of, write_between

PAGE = ROOT / "docs" / "autoencoder.md"
BEGIN, END = "<!-- designs: begin -->", "<!-- designs: end -->"
DESIGNS = ("planes", "lattice", "shap_e_small", "vector_set", "sparse")


def measured(design: str, minutes: float, overrides: list[str], limit: int) -> str:
    """Trains and measures one design: its row of the table."""
    name = f"design_{design}"
    run(
        "train.py",
        *overrides,
        f"autoencoder={design}",
        f"name={name}",
        f"training.autoencoder.budget.max_minutes={minutes}",
        "callbacks.pictures=null",
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
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--limit", type=int, default=40, help="held-out assets to measure on")
    parser.add_argument("overrides", nargs="*", help="key=value for train.py")
    arguments = parser.parse_args()
    overrides = ["experiment=planes_autoencoder", *arguments.overrides]
    rows = [measured(design, arguments.minutes, overrides, arguments.limit) for design in DESIGNS]
    command = " ".join(["python benchmarks/autoencoder_designs.py", *sys.argv[1:]])
    table = [
        f"`{command}`: {arguments.minutes:g} minutes of training each, batch 16, first {arguments.limit} held-out "
        f"assets, {torch.get_num_threads()} threads.",
        "",
        "| design | parameters | steps | IoU mean / median | F@0.02 | Chamfer L1 | normals | view PSNR |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    write_between(PAGE, BEGIN, END, table)


if __name__ == "__main__":
    main()
