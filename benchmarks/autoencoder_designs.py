"""Equal short trainings of every autoencoder design, measured on the same held-out assets.

    python benchmarks/autoencoder_designs.py [--minutes 4] [key=value …]

Each design is trained by train.py for the same minutes of wall clock, one after the other on an otherwise quiet
machine, and measured by evaluate.py. Further arguments go to train.py. Finished designs are not trained again. The
table is printed and written into docs/autoencoder.md, between its two marks.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "autoencoder.md"
BEGIN, END = "<!-- designs: begin -->", "<!-- designs: end -->"
DESIGNS = ("planes", "lattice", "shap_e_small", "vector_set", "sparse")


def run(*command: str) -> None:
    print("$", *command, flush=True)
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT)


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
    newest = max((ROOT / "outputs" / name).glob("*/model.ckpt"), key=lambda path: path.stat().st_mtime)
    run("evaluate.py", f"run={newest.parent}", f"limit={limit}", "reconstruction.pictures=0")
    report = json.loads((newest.parent / "evaluation" / "heldout.json").read_text())
    mean, median = report["mean"], report["median"]
    with open(newest.parent / "metrics.csv", newline="") as file:
        steps = max(int(row["step"]) for row in csv.DictReader(file))
    weights = torch.load(newest, map_location="cpu", weights_only=True)["state_dict"]
    parameters = sum(tensor.numel() for tensor in weights.values())
    cells = [f"`autoencoder={design}`", f"{parameters / 1e6:.1f} M", f"{steps:,}"]
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
        BEGIN,
        f"`{command}`: {arguments.minutes:g} minutes of training each, batch 16, first {arguments.limit} held-out "
        f"assets, {torch.get_num_threads()} threads.",
        "",
        "| design | parameters | steps | IoU mean / median | F@0.02 | Chamfer L1 | normals | view PSNR |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        END,
    ]
    print("\n".join(table[1:-1]))
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + "\n".join(table) + rest.split(END)[1])


if __name__ == "__main__":
    main()
