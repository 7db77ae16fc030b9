"""The table's order and the plot."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldforge.sweeps.plot import Axis, write_plot
from fieldforge.sweeps.records import FAILED, FINISHED, PRUNED
from fieldforge.sweeps.trial_table import Row, Table, short_names

ROWS = [
    Row(0, {"a.lr": 0.001, "b.kind": "x"}, FINISHED, 3.0, 100, 60.0, "runs/0", ""),
    Row(1, {"a.lr": 0.1, "b.kind": "y"}, FAILED, None, None, 1.0, None, "no finite | gradient"),
    Row(2, {"a.lr": 0.01, "b.kind": "x"}, FINISHED, 1.0, 100, 90.0, "runs/2", ""),
    Row(3, {"a.lr": 0.02, "b.kind": "y"}, PRUNED, 0.5, 20, 20.0, "runs/3", ""),
    Row(4, {"a.lr": 0.03, "b.kind": "y"}, PRUNED, 9.0, 60, 20.0, "runs/4", ""),
    Row(5, {"a.lr": 0.03, "b.kind": "z"}, FINISHED, None, 100, 20.0, "runs/5", ""),
]


def test_order_and_summary(tmp_path: Path):
    table = Table("heldout/loss", "minimize", ROWS)
    assert [row.number for row in table.ranked] == [2, 0, 5, 4, 3, 1]
    assert [row.number for row in Table("heldout/loss", "maximize", ROWS).ranked][:2] == [0, 2]
    # two pruned at 20 and 60 of 100 steps, besides three that went on to the end
    assert table.summary() == "6 trials: 3 finished, 2 pruned, 1 failed; pruning saved 120 of 500 steps (24%)"
    table.write(tmp_path)
    with (tmp_path / "table.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == ["2", "0", "5", "4", "3", "1"]
    assert rows[0]["a.lr"] == "0.01"
    assert rows[-1]["note"] == "no finite | gradient"
    lines = (tmp_path / "table.md").read_text().splitlines()[2:]
    assert [line.count("|") for line in lines] == [10] * 8  # columns alike, the bar in the note replaced
    assert len({len(line) for line in lines}) == 1


def test_short_names():
    assert short_names(["a.b.lr", "a.c.lr", "+a.x"]) == ["b.lr", "c.lr", "x"]
    assert short_names(["lr", "a.lr"]) == ["lr", "a.lr"]


def test_axes():
    decades = Axis.of("lr", [1e-4, 1e-3, 1e-2])
    assert decades.heights == pytest.approx({1e-4: 0.0, 1e-3: 0.5, 1e-2: 1.0})
    assert Axis.of("lr", [1.0, 1.5, 3.0]).heights == pytest.approx({1.0: 0.0, 1.5: 0.25, 3.0: 1.0})
    assert Axis.of("kind", ["16", "8", "x"]).heights == {"8": 0.0, "16": 0.5, "x": 1.0}
    assert Axis.of("one", [2.0]).heights == {2.0: 0.5}


def test_plot_has_lines_for_all(tmp_path: Path):
    path = tmp_path / "plot.png"
    write_plot(Table("heldout/loss", "minimize", ROWS), path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 300
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 80)  # the failed trial
    dark = (pixels[..., 2] > 60) & (pixels.sum(-1) < 190) & (pixels[..., 0] > 50)  # viridis' first colour: the best
    assert red.sum() > 50
    assert dark.sum() > 200
    write_plot(Table("heldout/loss", "minimize", ROWS[:1]), tmp_path / "one.png")
    assert not (tmp_path / "one.png").exists()
